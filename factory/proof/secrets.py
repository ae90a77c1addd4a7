"""What would let somebody in somewhere: searched for in the layers of an image, in its configuration and history.

Layers keep what later ones remove, so they are read one by one, as `docker save` writes them. The base image's own
layers are its maker's affair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from factory.image_archive import opened
from factory.proof.layers import own_layers
from factory.proof.model import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from factory.image_archive import ImageArchive

_MOST_FINDINGS = 20
_CHUNK = 1 << 20
_LARGEST_TEXT = 64 * 1024

_NAMES = frozenset({".git-credentials", ".netrc", ".npmrc", ".pypirc", "id_ecdsa", "id_ed25519", "id_rsa"})
_ENDS = (".docker/config.json", ".aws/credentials", "cargo/credentials", "cargo/credentials.toml")
_KEYS = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|\b(?:gh[oprsu]|github_pat|glpat)[_-][A-Za-z0-9_-]{20,}"
    # Of crates.io: tokens of a user, and those of trusted publishing.
    rb"|\bcio(?:_tp_)?[A-Za-z0-9]{32}\b|\bAKIA[0-9A-Z]{16}\b"
)
_VARIABLE = re.compile(r"(?:^|[\s;&|])([A-Z0-9_]*(?:TOKEN|SECRET|PASSWORD|PASSWD)[A-Z0-9_]*)=(?P<value>[^\s$;&|\"']+)")
_LOGIN_IN_URL = re.compile(r"[a-z+]+://[^/\s:@]+:[^/\s@]+@")
_THIRD_PARTY = ("registry/cache/", "registry/src/", "git/checkouts/", "git/db/")
"""Below CARGO_HOME: crates bring the keys, and the files of credentials, of their tests along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What is searched for: the tokens of the configuration by label, and everything that looks like one."""

    planted: Mapping[str, bytes]
    cargo_home: str
    build_dir: str

    def in_file(self, path: str, size: int, content: IO[bytes]) -> Iterator[str]:
        """Yield what a file is or holds."""
        ours = self._is_ours(path)
        if ours and (PurePosixPath(path).name in _NAMES or path.endswith(_ENDS)):
            yield "a file of credentials"
        before = b""
        longest = max((len(value) for value in self.planted.values()), default=1)
        found: set[str] = set()
        while chunk := content.read(_CHUNK):
            text = before + chunk
            found |= {f"the token for {label}" for label, value in self.planted.items() if value in text}
            if ours and size <= _LARGEST_TEXT and _KEYS.search(text):
                found.add("a private key or an access token")
            before = text[-longest:]
        yield from sorted(found)

    def in_text(self, text: str) -> Iterator[str]:
        """Yield what a line of the configuration or history holds."""
        for label, value in sorted(self.planted.items()):
            if value in text.encode():
                yield f"the token for {label}"
        for match in _VARIABLE.finditer(text):
            yield f"{match[1]} with a value"
        if _LOGIN_IN_URL.search(text):
            yield "a URL with a password"
        if _KEYS.search(text.encode()):
            yield "a private key or an access token"

    def _is_ours(self, path: str) -> bool:
        home = self.cargo_home.strip("/")
        return not path.startswith((f"{self.build_dir.strip('/')}/", *(f"{home}/{part}" for part in _THIRD_PARTY)))


def secrets_check(
    archive: Path, share: str, *, cargo_home: str, build_dir: str, planted: Mapping[str, str], cache: Path
) -> Check:
    """Return the check that nothing in an archive of `docker save` lets anybody in anywhere.

    Layers count from the first with the directory `share` upwards. `planted` are the tokens that the configuration
    names, by what they are for: they are searched for everywhere. What the lower layers hold is kept
    in the folder `cache`. Raises `EnvironmentFaultError` for an archive that cannot be read.
    """
    search = _Search(
        planted={label: value.encode() for label, value in planted.items()}, cargo_home=cargo_home, build_dir=build_dir
    )
    with opened(archive) as image:
        findings = tuple(_findings(image, share, search, cache))
    known = f", and none of the {len(planted)} tokens that the configuration names" if planted else ""
    return Check(
        name="no secrets",
        ok=not findings,
        detail=(
            f"{len(findings)} places hold what may let somebody in somewhere"
            if findings
            else f"no credentials in any layer, the configuration or the history{known}"
        ),
        findings=findings[:_MOST_FINDINGS],
    )


def _findings(image: ImageArchive, share: str, search: _Search, cache: Path) -> Iterator[str]:
    yield from _in_configuration(image.configuration, search)
    for number, name in own_layers(image, share, cache):
        for entry, content in image.entries(name):
            path = entry.name.removeprefix("./").strip("/")
            if content is not None:
                yield from (f"/{path} (layer {number}): {what}" for what in search.in_file(path, entry.size, content))


def _in_configuration(document: Mapping[str, Any], search: _Search) -> Iterator[str]:
    settings = document.get("config") or {}
    texts: list[tuple[str, str]] = [("environment", text) for text in settings.get("Env") or ()]
    texts += [("label", f"{name}={value}") for name, value in sorted((settings.get("Labels") or {}).items())]
    texts += [("history", str(entry.get("created_by", ""))) for entry in document.get("history") or ()]
    for where, text in texts:
        yield from (f"{where}: {what}" for what in search.in_text(text))
