"""Find every cargo workspace below some folders, and explain what is left out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError
from factory.scan.cargo_config import read_recorded, vendored_folders
from factory.scan.manifest import manifests_read, parse_toml, read_manifest
from factory.scan.membership import find_members, find_packages, find_root
from factory.scan.model import FoundWorkspace, Scan, Skipped, SkipReason, UnscannableError
from factory.scan.source_tree import MAX_LOCK_BYTES, SourceTree, escaped, is_utf8
from factory.scan.targets import find_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_TOOLCHAIN_FILES = ("rust-toolchain", "rust-toolchain.toml")
_MAX_PIN = 200


def find_workspaces(paths: Sequence[Path]) -> Scan:
    """Find every cargo workspace with a lockfile below `paths`, without running anything.

    A path is a folder or the `Cargo.toml` in it, and may itself be a symbolic link; below it none is
    followed. Left out silently: hidden folders, `node_modules`, cargo's target directories, vendored sources,
    and packages that are part of another workspace. Every other thing left out is a row of `Scan.skipped`.
    Raises `ConfigurationError` when a path does not exist.
    """
    roots = sorted({_scan_root(path) for path in paths})
    workspaces: dict[Path, FoundWorkspace] = {}
    skipped: set[Skipped] = set()
    for tree in _trees(roots):
        for workspace in _Search(tree).run(skipped):
            # A scanned folder inside another: the outer one comes first, and wins.
            workspaces.setdefault(workspace.root, workspace)
    return Scan(workspaces=tuple(sorted(workspaces.values())), skipped=tuple(sorted(skipped)))


def _scan_root(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    if real.name == "Cargo.toml" and real.is_file():
        real = real.parent
    if not real.is_dir():
        advice = "Name a folder that holds Rust repositories, or a git URL."
        what = f"{escaped(str(path))}: no such folder"
        raise ConfigurationError(what, advice=advice)
    return real


def _trees(roots: Sequence[Path]) -> Iterator[SourceTree]:
    outermost = [root for root in roots if not any(root != other and root.is_relative_to(other) for other in roots)]
    labels = dict(zip(outermost, _labels(outermost), strict=True))
    for root in roots:
        outer = next(folder for folder in outermost if root.is_relative_to(folder))
        below = PurePosixPath(labels[outer]) / PurePosixPath(escaped(str(root.relative_to(outer))))
        yield SourceTree(scan_root=root, label=str(below))


def _labels(roots: Sequence[Path]) -> list[str]:
    """The shortest tails of the paths of which none is the beginning of another."""
    lengths = [1] * len(roots)
    while True:
        labels = [root.parts[1:][-length:] or ("root",) for root, length in zip(roots, lengths, strict=True)]
        clashing = [index for index in range(len(roots)) if _clashes(index, labels)]
        if not clashing:
            return [escaped("/".join(label)) for label in labels]
        for index in clashing:
            lengths[index] += 1


def _clashes(index: int, labels: Sequence[tuple[str, ...]]) -> bool:
    mine = labels[index]
    others = (label for position, label in enumerate(labels) if position != index)
    return any(mine[: len(other)] == other[: len(mine)] for other in others)


@dataclass(frozen=True, slots=True)
class _Search:
    """The search of one scanned folder; troubles go into `rows`."""

    tree: SourceTree
    rows: set[Skipped] = field(default_factory=set)

    def run(self, skipped: set[Skipped]) -> list[FoundWorkspace]:
        manifests = [path for path in self._walk() if self._is_readable(path)]
        roots = [path for path in manifests if read_manifest(self.tree, path).workspace is not None]
        claimed = {member for root in roots for member in self._members(root)}
        alone = [path for path in manifests if path not in claimed and self._stands_alone(path)]
        found = list(self._complete([*roots, *alone]))
        skipped.update(self.rows)
        return found

    def _walk(self) -> Iterator[Path]:
        """Every `Cargo.toml` outside the folders that are never looked into."""
        waiting = [self.tree.scan_root]
        vendored: set[Path] = set()
        while waiting:
            folder = waiting.pop()
            try:
                names = self.tree.names(folder)
            except UnscannableError as error:
                self._report(folder, error)
                continue
            present = {name for name, _ in names}
            if ".cargo" in present:
                vendored.update(vendored_folders(self.tree, folder))
            if folder in vendored or (folder != self.tree.scan_root and _is_left_out(folder, present)):
                continue
            if "Cargo.toml" in present:
                yield folder / "Cargo.toml"
            waiting.extend(folder / name for name, is_folder in names if is_folder and not _is_hidden(name, present))

    def _is_readable(self, manifest: Path) -> bool:
        try:
            _check_encoding(self.tree, manifest)
            read_manifest(self.tree, manifest)
        except UnscannableError as error:
            self._report(manifest.parent, error)
            return False
        return True

    def _members(self, root: Path) -> tuple[Path, ...]:
        try:
            return find_members(self.tree, root)
        except UnscannableError:
            # Reported when the workspace is completed.
            return (root,)

    def _stands_alone(self, manifest: Path) -> bool:
        """Whether a package that nobody claims is a workspace of its own."""
        if read_manifest(self.tree, manifest).workspace is not None:
            return False
        try:
            return find_root(self.tree, manifest) is None
        except UnscannableError as error:
            self._report(manifest.parent, error)
            return False

    def _complete(self, roots: Iterable[Path]) -> Iterator[FoundWorkspace]:
        """Yield the workspaces that have a lockfile; report what none of them takes along."""
        taken: set[Path] = set()
        without_lock: list[Path] = []
        for root in roots:
            if not self.tree.exists(root.parent / "Cargo.lock"):
                without_lock.append(root)
                continue
            try:
                packages = find_packages(self.tree, root, read_recorded(self.tree, root.parent).patch_folders)
                taken.update(packages)
                yield self._workspace(root, packages)
            except UnscannableError as error:
                taken.add(root)
                self._report(root.parent, error)
        for root in without_lock:
            if root not in taken:
                self._report(root.parent, _no_lockfile(self.tree, root))
        self._report_unclaimed(taken)

    def _report_unclaimed(self, taken: set[Path]) -> None:
        """Report packages with a lockfile, below a workspace that does not claim them."""
        for manifest in sorted(manifests_read(self.tree).keys() - taken):
            root = self.tree.roots.get(manifest)
            if root is None or not self.tree.exists(manifest.parent / "Cargo.lock"):
                continue
            if manifest not in self._members(root):
                what = f"{self.tree.display(manifest)}: not a member of the workspace {self.tree.display(root)}"
                advice = "add it to workspace.members or to workspace.exclude: as it is, cargo refuses to build it"
                self._report(manifest.parent, UnscannableError(SkipReason.NOT_A_MEMBER, what, advice=advice))

    def _workspace(self, root: Path, packages: Iterable[Path]) -> FoundWorkspace:
        for package in packages:
            find_targets(self.tree, package)
        lock = root.parent / "Cargo.lock"
        self.tree.read(lock, limit=MAX_LOCK_BYTES)
        repo_root = self.tree.repo_root(root.parent)
        manifests = find_members(self.tree, root)
        return FoundWorkspace(
            repo=self.tree.display(repo_root),
            path=self.tree.display(root.parent),
            root=root.parent,
            repo_root=repo_root,
            scan_root=self.tree.scan_root,
            manifests=manifests,
            lock=lock,
            toolchain_pin=_toolchain_pin(self.tree, root.parent),
            rust_version=_rust_version(self.tree, root, manifests),
        )

    def _report(self, folder: Path, error: UnscannableError) -> None:
        repo = self.tree.display(self.tree.repo_root(folder))
        self.rows.add(error.row(repo=repo, path=self.tree.display(folder)))


def _check_encoding(tree: SourceTree, manifest: Path) -> None:
    if not is_utf8(manifest):
        what = f"{tree.display(manifest)}: the path is not UTF-8"
        raise UnscannableError(SkipReason.NOT_UTF8_PATH, what, advice="rename it: cargo needs UTF-8")


def _no_lockfile(tree: SourceTree, root: Path) -> UnscannableError:
    advice = "run `cargo generate-lockfile` and commit Cargo.lock"
    return UnscannableError(SkipReason.NO_LOCKFILE, f"{tree.display(root.parent)}: no Cargo.lock", advice=advice)


def _is_hidden(name: str, siblings: set[str]) -> bool:
    return name.startswith(".") or name == "node_modules" or (name == "target" and "Cargo.toml" in siblings)


def _is_left_out(folder: Path, present: set[str]) -> bool:
    """Whether a folder is cargo's target directory or a vendored package, wherever it stands."""
    is_target = ".rustc_info.json" in present or (folder.name == "target" and "CACHEDIR.TAG" in present)
    return is_target or ".cargo-checksum.json" in present


def _toolchain_pin(tree: SourceTree, folder: Path) -> str | None:
    """The nearest pin, in rustup's order."""
    top = tree.repo_root(folder)
    for candidate in (folder, *folder.parents):
        if not candidate.is_relative_to(top):
            break
        for name in _TOOLCHAIN_FILES:
            if tree.exists(candidate / name):
                return _pin_of(tree, candidate / name)
    return None


def _pin_of(tree: SourceTree, path: Path) -> str | None:
    text = tree.read_text(path, reason=SkipReason.MALFORMED_TOOLCHAIN).strip()
    if path.suffix != ".toml" and "\n" not in text and "=" not in text and text:
        return escaped(text[:_MAX_PIN])
    try:
        table = parse_toml(text).get("toolchain")
    except ValueError as error:
        raise UnscannableError(SkipReason.MALFORMED_TOOLCHAIN, f"{tree.display(path)}{error}") from error
    match table:
        case {"path": str(folder)}:
            return escaped(f"path:{folder}"[:_MAX_PIN])
        case {"channel": str(channel)}:
            return escaped(channel[:_MAX_PIN])
        case dict():
            return None
        case _:
            what = f"{tree.display(path)}: there is no [toolchain] table"
            raise UnscannableError(SkipReason.MALFORMED_TOOLCHAIN, what, advice="name a channel in it")


def _rust_version(tree: SourceTree, root: Path, manifests: Iterable[Path]) -> str | None:
    workspace = read_manifest(tree, root).workspace
    inherited = None if workspace is None else workspace.rust_version
    versions = set()
    for manifest in manifests:
        package = read_manifest(tree, manifest).package
        if package is not None:
            versions.add(inherited if package.inherits_rust_version else package.rust_version)
    return max((version for version in versions if version), key=_numbers, default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part[:9]) if part.isdecimal() else 0 for part in version.split("-")[0].split("."))
