"""Signatures and attestations of an index, by cosign: made with a key or by a CI job's identity, and verified.

The flags are those of cosign 3. With a key nothing leaves for the public log: who has the key can verify. Keyless
signatures are worth what the log says, so they always go there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory import process
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import write_json
from factory.proof.model import Check
from factory.publish.attempts import Fault, Patience, fault_of, persist
from factory.publish.credentials import is_loopback
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.output import Output

COSIGN_ADVICE = (
    "Install cosign 3 (https://docs.sigstore.dev/cosign/system_config/installation/); on Debian, "
    "`scripts/engine.py cosign` fetches a tested one."
)
OLDEST_COSIGN = 3
SECONDS = 300.0

COSIGN_RELEASE = "v3.0.6"
"""The release that schedules install, https://github.com/sigstore/cosign/releases."""
COSIGN_SUMS = {
    "amd64": "c956e5dfcac53d52bcf058360d579472f0c1d2d9b69f55209e256fe7783f4c74",
    "arm64": "bedac92e8c3729864e13d4a17048007cfafa79d5deca993a43a90ffe018ef2b8",
}
"""SHA-256 of its programs for Linux, by architecture: cosign_checksums.txt of the release."""

SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
"""What cosign calls a signature among the statements about an image."""

SBOM = "cyclonedx"
PROVENANCE = "slsaprovenance1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who has to have signed: the owner of a key, or (keyless) an identity and who vouches for it, as patterns."""

    key: str | None = None
    identity: str | None = None
    issuer: str | None = None

    def __post_init__(self) -> None:
        keyless = self.identity is not None and self.issuer is not None
        if keyless == (self.key is not None) or (self.identity is None) != (self.issuer is None):
            raise ConfigurationError(
                "whose signature is it to be?",
                advice="Give --key FILE, or --identity and --issuer: regular expressions for a CI job.",
            )

    @property
    def options(self) -> tuple[str, ...]:
        """What cosign is told."""
        if self.key is not None:
            return (f"--key={self.key}", "--insecure-ignore-tlog=true")
        return (f"--certificate-identity-regexp={self.identity}", f"--certificate-oidc-issuer-regexp={self.issuer}")


class Cosign:
    """The program; making one raises `EnvironmentFaultError` where it is missing or too old."""

    def __init__(self, *, patience: Patience, output: Output) -> None:
        require_cosign()
        self._patience = patience
        self._output = output

    def sign(self, reference: str, key: str | None, attestations: Mapping[str, Any]) -> None:
        """Sign an index by digest, and attest predicates by their type; raise `RegistryFaultError` where it fails."""
        with scratch("factory-attestations-") as folder:
            for kind, predicate in attestations.items():
                write_json(folder / f"{kind}.json", predicate)
            for command in sign_commands(reference, key, {kind: folder / f"{kind}.json" for kind in attestations}):
                self._run(command, f"signing {reference}")

    def verify(self, reference: str, who: Identity) -> tuple[Check, ...]:
        """Return what holds of the signature of an image, by digest, and of what is attested of it."""
        rows = [self._signature(reference, who)]
        rows += [self._attested(reference, who, kind) for kind in (SBOM, PROVENANCE)]
        return tuple(rows)

    def _signature(self, reference: str, who: Identity) -> Check:
        command = ("cosign", "verify", *who.options, *_plain_http(reference), reference)
        answer = self._ask(command, f"verifying {reference}")
        # An attestation by the same key verifies too, and says nothing of the whole image.
        ok = answer.ok and SIGNATURE in _types(answer.stdout)
        return Check(name="signature", ok=ok, detail=_detail(answer) if not ok else f"of {reference}")

    def _attested(self, reference: str, who: Identity, kind: str) -> Check:
        command = ("cosign", "verify-attestation", *who.options, *_plain_http(reference), f"--type={kind}", reference)
        answer = self._ask(command, f"verifying {reference}")
        return Check(name=f"attested {kind}", ok=answer.ok, detail=_detail(answer))

    def _ask(self, command: Sequence[str], what: str) -> process.Completed:
        """Run a question whose answer may be no; only a registry that does not answer is an error."""
        answers: list[process.Completed] = []

        def call() -> process.Completed:
            answer = process.run(command, timeout=SECONDS, check=False)
            answers.append(answer)
            if not answer.ok and fault_of(answer.stderr) in {Fault.ABSENT, Fault.UNKNOWN}:
                # It was read, and it is not what was asked for.
                return process.Completed(args=answer.args, returncode=0, stdout="", stderr=answer.stderr)
            return answer

        persist(what, call, self._patience, self._output)
        return answers[-1]

    def _run(self, command: Sequence[str], what: str) -> None:
        persist(what, lambda: process.run(command, timeout=SECONDS, check=False), self._patience, self._output)


def require_cosign() -> None:
    """Raise `EnvironmentFaultError` where cosign is missing, or older than the flags that it is given."""
    process.which("cosign", advice=COSIGN_ADVICE)
    answer = process.run(("cosign", "version", "--json"), timeout=SECONDS, check=False)
    version = _version(answer.stdout)
    major = re.match(r"v?([0-9]+)\.", version)
    # Debian's knows no version of its own, and is asked for a flag.
    if _knows_signing_config() if major is None else int(major[1]) >= OLDEST_COSIGN:
        return
    raise EnvironmentFaultError(f"cosign {version or answer.stderr.strip()[-300:]} is too old", advice=COSIGN_ADVICE)


def _version(said: str) -> str:
    try:
        return str(json.loads(said)["gitVersion"])
    except (ValueError, KeyError, TypeError):
        return ""


def _knows_signing_config() -> bool:
    answer = process.run(("cosign", "sign", "--help"), timeout=SECONDS, check=False)
    return "--use-signing-config" in answer.stdout + answer.stderr


def sign_commands(reference: str, key: str | None, predicates: Mapping[str, Path | str]) -> tuple[tuple[str, ...], ...]:
    """Return the commands that attest predicates (files by type) of an image, and then sign it."""
    # Both flags are deprecated for a signing configuration without a log, which cosign 2 does not know.
    log = ("--use-signing-config=false", "--tlog-upload=false") if key is not None else ()
    how = ("--yes", *(() if key is None else (f"--key={key}",)), *log, *_plain_http(reference))
    attest = [
        ("cosign", "attest", *how, f"--type={kind}", f"--predicate={path}", reference)
        for kind, path in sorted(predicates.items())
    ]
    return (*attest, ("cosign", "sign", *how, reference))


def public_key(key: str) -> str:
    """Return the public key (PEM) of a private one; raise `EnvironmentFaultError` where cosign cannot read it."""
    answer = process.run(("cosign", "public-key", f"--key={key}"), timeout=SECONDS, check=False)
    if not answer.ok:
        raise EnvironmentFaultError(
            f"{key}: cosign cannot use this key: {answer.stderr.strip()[-500:]}",
            advice="Its password belongs into the variable COSIGN_PASSWORD, which may be empty.",
        )
    return answer.stdout


def _plain_http(reference: str) -> tuple[str, ...]:
    return ("--allow-http-registry",) if is_loopback(reference.partition("/")[0]) else ()


def _types(stdout: str) -> set[str]:
    try:
        return {row["critical"]["type"] for row in json.loads(stdout)}
    except (ValueError, KeyError, TypeError):
        return set()


def _detail(answer: process.Completed) -> str:
    if answer.ok:
        return "verified"
    lines = [line for line in answer.stderr.splitlines() if line.startswith("Error:")]
    return (lines[0].removeprefix("Error:").strip() if lines else answer.stderr.strip()[-300:]) or "not verified"
