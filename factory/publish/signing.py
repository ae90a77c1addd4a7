"""Signatures and attestations of an index, by cosign: made with a key or by a CI job's identity, and verified.

The flags are those of cosign 3. With a key nothing leaves for the public log: who has the key can verify. Keyless
signatures are worth what the log says, so they always go there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory import process
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError
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
    """The program; making one raises `EnvironmentFaultError` where it is missing."""

    def __init__(self, *, patience: Patience, output: Output) -> None:
        process.which("cosign", advice=COSIGN_ADVICE)
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
        self._output.command(command)
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
        self._output.command(command)
        persist(what, lambda: process.run(command, timeout=SECONDS, check=False), self._patience, self._output)


def require_signed_by(checks: Sequence[Check], reference: str) -> None:
    """Raise `BadAnswerError` for the first check of a signature that does not hold."""
    for check in checks:
        if not check.ok:
            raise BadAnswerError(f"{reference}: {check.name}: {check.detail}", advice="Do not use it as it is.")


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
