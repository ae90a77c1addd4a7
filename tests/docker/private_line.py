"""One image cooked from private sources by `factory build`, and what several tests need to look at it."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory import process
from factory.files import write_text
from tests.private_sources import SECRETS, PrivateSources, private_sources

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
NAME = "rust-warm-factory/hermetic-test"
IMAGE = f"{NAME}:core"


@dataclass(frozen=True, kw_only=True)
class PrivateLine:
    """The image, what the build said, and where its files are."""

    sources: PrivateSources
    environment: Mapping[str, str]
    folder: Path
    built: Mapping[str, Any]
    log: str

    def factory(self, *words: str, **variables: str) -> process.Completed:
        return process.run(
            [sys.executable, "-m", "factory", *words],
            cwd=self.folder,
            env={**self.environment, **variables},
            check=False,
            timeout=900,
        )

    @property
    def bake_file(self) -> Path:
        (found,) = (self.folder / "cache" / "bake").rglob("docker-bake.json")
        return found

    def command(self, target: str, **variables: str) -> list[str]:
        """Return the command by which `factory build` builds a target."""
        printed = self.factory("build", "--dry-run", **variables).stdout.splitlines()
        words = next(row for row in printed if row.endswith(f" {target}")).split()
        return words[words.index("docker") :]


@contextlib.contextmanager
def cooked_line(folder: Path, base_image: str, environment: Mapping[str, str]) -> Iterator[PrivateLine]:
    """Serve the sources, and cook the image from them; both are there until the `with` block ends."""
    write_text(folder / "profiles" / "core.toml", 'description = "Everything"\n')
    with private_sources(folder / "sources") as sources:
        write_text(folder / "registry-config.yaml", sources.configuration())
        variables = {
            **environment,
            **sources.variables,
            "FACTORY_CACHE_DIR": str(folder / "cache"),
            "FACTORY_PROFILES": str(folder / "profiles"),
            "FACTORY_BASE_IMAGE": base_image,
            "FACTORY_IMAGE_NAME": NAME,
            "FACTORY_IMAGE_TAGS": "{layer}",
            "PYTHONPATH": str(ROOT),
        }
        line = PrivateLine(sources=sources, environment=variables, folder=folder, built={}, log="")
        for words in (("analyze", str(sources.repos)), ("plan",)):
            done = line.factory(*words)
            assert done.returncode == 0, done.stderr
        built = line.factory("-vv", "build", "--json")
        assert built.returncode == 0, built.stderr
        yield replace(line, built=json.loads(built.stdout), log=built.stdout + built.stderr)


def entries(layer: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Yield what a layer says of each path, and what each file holds."""
    for member in layer:
        yield member.name, f"{member.name} {member.linkname} {member.pax_headers}".encode()
        content = layer.extractfile(member) if member.isreg() else None
        if content is not None:
            yield member.name, content.read()


def leaks(texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return the places of planted tokens."""
    return [place for place, text in texts if any(secret.encode() in text for secret in SECRETS)]
