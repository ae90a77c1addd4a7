"""The copy on which a repository is aligned: a skeleton, so nothing of the repository is run or changed."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.analysis.analyze import analyze_copy
from factory.cargo.home import known_registries
from factory.cargo.lock import parse_lock
from factory.cargo.resolve import explain
from factory.errors import ConfigurationError
from factory.files import digest
from factory.model import CRATES_IO
from factory.scan.skeleton import write_skeleton

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from factory.analysis.analyze import Resolver
    from factory.analysis.model import Analysis
    from factory.model import PackageId
    from factory.process import Completed
    from factory.scan.cargo_config import RecordedConfig
    from factory.scan.model import FoundWorkspace

_ALIGNED_NAMES = frozenset({"Cargo.toml", "Cargo.lock"})
_LOCKED = "previously selected package"
_SELECTED = re.compile(r"package `(\S+) v([^`\s]+)`")
_ENTRY = "[[package]]"
_SETTLE = ["tree", "--depth=0", "--edges=no-dev"]
_MOST_UNLOCKED = 8
"""How often something may be in the way: what one of these crates needs of another is known only then."""
_REACHES = (1, 2, None)
"""How far above what is in the way versions are given up: the newest one comes instead, with all that it brings."""
_CONFLICT = re.compile(r"required by package `(?P<by>[^`(]+?)(?: \([^`]*\))?`")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingCopy:
    """A skeleton of `found` in `folder`, with the workspace's root at `root`; its files may be changed at will."""

    found: FoundWorkspace
    folder: Path
    root: Path
    recorded: RecordedConfig
    resolver: Resolver

    @classmethod
    def make(cls, found: FoundWorkspace, folder: Path, resolver: Resolver) -> WorkingCopy:
        """Write the skeleton into `folder`; raise `UnscannableError` for a repository that became unusable."""
        skeleton = write_skeleton(found, folder, registries=known_registries(resolver.cargo_home))
        return cls(found=found, folder=folder, root=skeleton.root, recorded=skeleton.recorded, resolver=resolver)

    @property
    def base(self) -> Path:
        """The folder of the repository that `folder` stands for."""
        depth = len(self.root.relative_to(self.folder).parts)
        return self.found.root.parents[depth - 1] if depth else self.found.root

    @property
    def lock(self) -> Path:
        """The lockfile."""
        return self.root / "Cargo.lock"

    def locked(self) -> frozenset[PackageId]:
        """Return the packages of crates.io that the lock has."""
        packages = (entry.package for entry in parse_lock(self.lock.read_text(encoding="utf-8")).packages)
        return frozenset(package for package in packages if package.source == CRATES_IO)

    def read(self) -> dict[str, str]:
        """Return the manifests and the lock: text by path, with the line ends of Unix and no byte order mark."""
        paths = (path for path in self.folder.rglob("Cargo.*") if path.name in _ALIGNED_NAMES)
        return {str(path.relative_to(self.folder)): path.read_text(encoding="utf-8") for path in sorted(paths)}

    def write(self, texts: Mapping[str, str]) -> None:
        """Make the manifests and the lock those that `read` returned before; others are removed."""
        for path in self.read().keys() - texts.keys():
            (self.folder / path).unlink()
        for path, text in texts.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")

    def shown(self, path: str) -> str:
        """Return a path of the copy as the repository's user knows it: relative to the repository."""
        return Path(os.path.relpath(self.base / path, self.found.repo_root)).as_posix()

    def patch(self, before: Mapping[str, str], after: Mapping[str, str]) -> str:
        """Return a unified diff between two states, as `git apply` takes it at the repository's top."""
        paths = [path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
        states = ((path, before.get(path), after.get(path)) for path in paths)
        return patch_of(
            {self.shown(path): (self.as_written(path, a), self.as_written(path, b)) for path, a, b in states}
        )

    def as_written(self, path: str, text: str | None) -> str | None:
        """Return a text of the copy, which `read` gave, with line ends and byte order mark as the repository has."""
        original = self.base / path
        if text is None or not original.is_file():
            return text
        content = original.read_bytes()
        ended = text.replace("\n", "\r\n") if b"\r\n" in content else text
        return BOM_UTF8.decode() + ended if content.startswith(BOM_UTF8) else ended

    def settle_lock(self, compiled: Collection[PackageId] | None = None) -> str:
        """Let cargo complete the lock for the manifests, with every other package as locked; "" or why not.

        Where it is told what is `compiled`, others that are in the way, such as crates which only other platforms need,
        get a version anew.

        Cargo holds its lock on all downloads for as long as it asks the registry, and whoever resolves beside it waits.
        So this is done by a command that goes by what cargo knows of the index, which was asked once for all
        (`refresh_index`). The registry is asked again only where that may be too old: a conflict with what is locked
        stays one.
        """
        before = self.lock.read_text(encoding="utf-8")
        answer = self._cargo(_SETTLE)
        for _ in range(_MOST_UNLOCKED if compiled is not None else 0):
            held = {(package.name, package.version) for package in compiled or ()}
            locked = self.lock.read_text(encoding="utf-8")
            freed = (without_packages(locked, in_the_way(answer, reach) - held) for reach in _REACHES)
            less = next((text for text in freed if text != locked), None)
            if less is None:
                break
            self.lock.write_text(less, encoding="utf-8")
            answer = self._cargo(_SETTLE)
        if not answer.ok and _LOCKED not in answer.stderr:
            self.lock.write_text(before, encoding="utf-8")
            answer = self._cargo(["update", "--workspace"])
        return "" if answer.ok else why_not(answer.stderr, hide=str(self.root))

    def ask_index(self, names: list[str]) -> None:
        """Let cargo ask the registry for crates that it knows nothing of; what cannot be had stays unknown."""
        if names and not self.resolver.offline:
            self._cargo(["update", "--dry-run", *(word for name in names for word in ("--package", name))])

    def analyze(self) -> Analysis:
        """Resolve the copy as it is, by the same way as every repository."""
        content = {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        where = str(self.root.relative_to(self.folder))
        return analyze_copy(self.found, self.root, self.recorded, self.resolver, content=digest([content, where]))

    def packages(self) -> list[dict[str, Any]]:
        """Return what `cargo metadata` says of the workspace's own packages.

        Raises `ConfigurationError` where cargo cannot read their manifests.
        """
        answer = self._cargo(["metadata", "--no-deps", "--format-version=1", "--offline"])
        if not answer.ok:
            raise ConfigurationError(
                f"cargo cannot read the workspace: {answer.stderr.strip()[-300:]}", advice="Mend its manifests."
            )
        return list(json.loads(answer.stdout)["packages"])

    def _cargo(self, args: list[str]) -> Completed:
        offline = ["--offline"] if self.resolver.offline and "--offline" not in args else []
        return self.resolver.toolchain.cargo(
            [*args, *offline], cwd=self.root, cargo_home=self.resolver.cargo_home, timeout=self.resolver.timeout
        )


def without_packages(lock: str, packages: Collection[tuple[str, str]]) -> str:
    """Return a lockfile without some packages, by name and version: cargo completes it."""
    head, *entries = lock.split(_ENTRY)
    kept = [entry for entry in entries if not any(_is_of(entry, *package) for package in packages)]
    return _ENTRY.join([head, *kept])


def _is_of(entry: str, name: str, version: str) -> bool:
    return entry.lstrip().startswith(f'name = "{name}"\nversion = "{version}"\n')


def in_the_way(answer: Completed, reach: int | None = None) -> set[tuple[str, str]]:
    """Return the packages, by name and version, that cargo says another one conflicts with, and what asks for them.

    With a `reach` only so many of each chain: 1 for what is in the way itself, 2 for what asks for it, too.
    """
    if answer.ok:
        return set()
    chains = answer.stderr.split(_LOCKED)[1:]
    return {package for chain in chains for package in _SELECTED.findall(f"package{chain}")[:reach]}


def why_not(stderr: str, *, hide: str) -> str:
    """Return in one sentence why cargo found no versions that fit together."""
    conflict = _CONFLICT.search(stderr)
    requirement = re.search(r"versions that meet the requirements `([^`]+)`", stderr)
    links = re.search(r"links to the native library `([^`]+)`", stderr)
    if links:
        return f"two packages would link the native library `{links[1]}`"
    if conflict and "failed to select a version" in stderr:
        name = re.search(r"failed to select a version for (?:the requirement )?`([^`=\s]+)", stderr)
        wants = f" `{requirement[1]}`" if requirement else ""
        return f"{conflict['by']} wants{f' {name[1]}' if name else ' another version'}{wants}"
    return explain(stderr, hide=hide).detail


def patch_of(files: Mapping[str, tuple[str | None, str | None]]) -> str:
    """Return a unified diff of files, by path in the repository: the text before and after, `None` for no file."""
    return "".join(line for path, (before, after) in files.items() for line in _diff(path, before, after))


def _diff(shown: str, before: str | None, after: str | None) -> list[str]:
    if before == after:
        return []
    old = "/dev/null" if before is None else f"a/{shown}"
    new = "/dev/null" if after is None else f"b/{shown}"
    lines = difflib.unified_diff(
        (before or "").splitlines(keepends=True), (after or "").splitlines(keepends=True), old, new
    )
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
