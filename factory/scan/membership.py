"""Which manifests belong together: cargo's rules for workspaces, members and path dependencies.

They follow `cargo/core/workspace.rs`, with two limits: the search for a workspace root stops at the top of
the repository, because a CI job checks out nothing above it, and no path leaves the scanned folder.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory.scan.manifest import Manifest, manifests_read, read_manifest
from factory.scan.model import SkipReason, UnscannableError
from factory.scan.source_tree import CHECK_OUT, SourceTree, is_utf8, normalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_GLOB_CHARACTERS = frozenset("*?[")


def find_root(tree: SourceTree, manifest: Path) -> Path | None:
    """Return the manifest of the workspace that `manifest` (no root itself) would belong to: cargo's upward
    search.

    A root that is malformed counts as none: it is reported by itself.
    """
    if manifest not in tree.roots:
        tree.roots[manifest] = _find_root(tree, manifest)
    return tree.roots[manifest]


def find_members(tree: SourceTree, root: Path) -> tuple[Path, ...]:
    """Return the manifests of the workspace whose root manifest is `root`, that one included, sorted.

    Members are those listed (globs expanded) and, from each member on, every path dependency in the
    workspace's folder or pointing back to this root. Raises `UnscannableError` for one that is missing or
    malformed.
    """
    parsed = read_manifest(tree, root)
    if parsed.workspace is None:
        return (root,)
    return _Members(tree, root, parsed).find()


def find_default_members(tree: SourceTree, root: Path) -> tuple[Path, ...]:
    """Return the manifests of the packages that a plain `cargo build` at `root` builds, sorted.

    These are the `default-members` (globs expanded); where it names none, the root's own package, or all members where
    it has no package. Raises `UnscannableError` for a default member that is no member: cargo refuses it.
    """
    members = find_members(tree, root)
    parsed = read_manifest(tree, root)
    if parsed.workspace is None or parsed.workspace.default_members is None:
        return members if parsed.package is None else (root,)
    found = {folder / "Cargo.toml" for folder in _listed(tree, root, parsed.workspace.default_members)}
    for manifest in sorted(found.difference(members)):
        # What is listed and excluded is left out by cargo, too.
        if not _is_excluded(root.parent, parsed, manifest):
            what = f"{tree.display(root)}: the default member {tree.display(manifest.parent)} is no member"
            raise UnscannableError(SkipReason.MEMBER_MISSING, what, advice="name it in workspace.members, too")
    return tuple(sorted(found.intersection(members)))


def find_packages(tree: SourceTree, root: Path, patches: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return every manifest that cargo reads to resolve a workspace, sorted.

    These are its members, the path dependencies of all packages, `[patch]` and `[replace]` paths (`patches`
    are the folders from the configuration), and the roots from which packages of other workspaces inherit.
    """
    members = find_members(tree, root)
    found = set(members)
    parsed = read_manifest(tree, root)
    folders = [reference(tree, root, path, "patch") for path in parsed.patch_paths]
    waiting = [
        *_dependencies_of(tree, members, own=True),
        *(folder / "Cargo.toml" for folder in (*folders, *patches)),
    ]
    while waiting:
        manifest = waiting.pop()
        if manifest not in found:
            found.add(manifest)
            waiting.extend(_dependencies_of(tree, (manifest,), own=False))
            found.update(_inherited_from(tree, manifest))
    return tuple(sorted(found))


def reference(tree: SourceTree, manifest: Path, path: str, what: str) -> Path:
    """Return the folder that `path` in `manifest` names; raise `UnscannableError` if it leaves the scanned
    folder.
    """
    folder = normalised(manifest.parent / path)
    if PurePosixPath(path).is_absolute() or not tree.holds(folder):
        where = tree.line_of(manifest, path)
        raise UnscannableError(
            SkipReason.PATH_DEPENDENCY_OUTSIDE,
            f"{where}: {what} `{path}` is outside the scanned folder",
            advice="scan a folder that holds both" if not Path(path).is_absolute() else "make the path relative",
        )
    return folder


def _find_root(tree: SourceTree, manifest: Path) -> Path | None:
    parsed = read_manifest(tree, manifest)
    if parsed.package is not None and parsed.package.pointer is not None:
        return _pointed_at(tree, manifest, parsed.package.pointer)
    top = tree.repo_root(manifest.parent)
    for folder in manifest.parent.parents:
        if not folder.is_relative_to(top):
            break
        found = _root_at(tree, folder / "Cargo.toml", seen_from=manifest)
        if found is not None:
            return found
    return None


def _pointed_at(tree: SourceTree, manifest: Path, pointer: str) -> Path:
    return reference(tree, manifest, pointer, "package.workspace") / "Cargo.toml"


def _root_at(tree: SourceTree, candidate: Path, *, seen_from: Path) -> Path | None:
    if not tree.exists(candidate):
        return None
    try:
        parsed = read_manifest(tree, candidate)
        if parsed.workspace is not None:
            return None if _is_excluded(candidate.parent, parsed, seen_from) else candidate
        if parsed.package is not None and parsed.package.pointer is not None:
            return _pointed_at(tree, candidate, parsed.package.pointer)
    except UnscannableError:
        return None
    return None


def _is_excluded(root: Path, parsed: Manifest, manifest: Path) -> bool:
    if parsed.workspace is None:
        return False
    if not any(manifest.is_relative_to(root / excluded) for excluded in parsed.workspace.exclude):
        return False
    return not any(manifest.is_relative_to(root / member) for member in parsed.workspace.members)


@dataclass(frozen=True, slots=True)
class _Members:
    """One search for the members of a workspace."""

    tree: SourceTree
    root: Path
    parsed: Manifest

    def find(self) -> tuple[Path, ...]:
        found: set[Path] = set()
        listed = () if self.parsed.workspace is None else self.parsed.workspace.members
        waiting = [(folder / "Cargo.toml", False) for folder in _listed(self.tree, self.root, listed)]
        waiting.append((self.root, False))
        while waiting:
            manifest, is_dependency = waiting.pop()
            if manifest in found or not self._belongs(manifest, is_dependency=is_dependency):
                continue
            self._check(manifest)
            found.add(manifest)
            waiting.extend((path, True) for path in _dependencies_of(self.tree, (manifest,), own=True))
        return tuple(sorted(found))

    def _belongs(self, manifest: Path, *, is_dependency: bool) -> bool:
        inside = manifest.is_relative_to(self.root.parent)
        if is_dependency and not inside and self._root_of(manifest) != self.root:
            return False
        return not _is_excluded(self.root.parent, self.parsed, manifest)

    def _root_of(self, manifest: Path) -> Path | None:
        if read_manifest(self.tree, manifest).workspace is not None:
            return manifest
        return find_root(self.tree, manifest)

    def _check(self, manifest: Path) -> None:
        folder = manifest.parent
        if not self.tree.exists(manifest) and not self.tree.is_folder(manifest):
            what = f"{self.tree.display(self.root)}: the member {self.tree.display(folder)} has no Cargo.toml"
            advice = f"{CHECK_OUT}, or remove it from workspace.members"
            raise UnscannableError(SkipReason.MEMBER_MISSING, what, advice=advice)


def _listed(tree: SourceTree, root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield the folders that a list of members in the root manifest names, globs expanded."""
    for name in names:
        folder = reference(tree, root, name, "workspace member")
        if _GLOB_CHARACTERS.intersection(name):
            yield from _expanded(tree, root.parent, name)
        else:
            yield folder


def _expanded(tree: SourceTree, top: Path, pattern: str) -> Iterator[Path]:
    """Expand a glob below `top`; folders without a manifest are left out, for git keeps no empty ones either."""
    folders = {top}
    for part in PurePosixPath(pattern).parts:
        folders = {match for folder in folders for match in _matches(tree, folder, part)}
    for folder in sorted(folders):
        if tree.holds(folder) and tree.exists(folder / "Cargo.toml"):
            yield folder


def _matches(tree: SourceTree, folder: Path, part: str) -> Iterator[Path]:
    if part == "**":
        yield from _below(tree, folder)
    elif _GLOB_CHARACTERS.intersection(part):
        for name, is_folder in tree.names(folder):
            # cargo's globs skip names that are not UTF-8.
            if is_folder and is_utf8(name) and fnmatch.fnmatchcase(name, part):
                yield folder / name
    else:
        yield normalised(folder / part)


def _below(tree: SourceTree, folder: Path) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(current / name for name, is_folder in tree.names(current) if is_folder)


def _dependencies_of(tree: SourceTree, manifests: Iterable[Path], *, own: bool) -> Iterator[Path]:
    """The manifests of path dependencies; development ones count only for members (`own`)."""
    for manifest in manifests:
        package = read_manifest(tree, manifest).package
        if package is None:
            continue
        for dependency in package.dependencies:
            if dependency.dev and not own:
                continue
            if dependency.path is not None:
                yield _dependency(tree, manifest, dependency.path)
            else:
                yield from _inherited_dependency(tree, manifest, dependency.name)


def _dependency(tree: SourceTree, manifest: Path, path: str) -> Path:
    found = reference(tree, manifest, path, "the path dependency") / "Cargo.toml"
    if not tree.exists(found) and not tree.is_folder(found):
        what = f"{tree.line_of(manifest, path)}: the path dependency `{path}` has no Cargo.toml"
        raise UnscannableError(SkipReason.PATH_DEPENDENCY_MISSING, what, advice=CHECK_OUT)
    return found


def _inherited_dependency(tree: SourceTree, manifest: Path, name: str) -> Iterator[Path]:
    root = manifest if read_manifest(tree, manifest).workspace is not None else find_root(tree, manifest)
    if root is None or not (root in manifests_read(tree) or tree.exists(root)):
        return
    workspace = read_manifest(tree, root).workspace
    if workspace is not None and name in workspace.dependency_paths:
        yield _dependency(tree, root, workspace.dependency_paths[name])


def _inherited_from(tree: SourceTree, manifest: Path) -> Iterator[Path]:
    """The root manifest that cargo reads for a path package, because the package may inherit from it."""
    if read_manifest(tree, manifest).workspace is not None:
        return
    root = find_root(tree, manifest)
    if root is not None and tree.exists(root):
        yield root
