"""What a project's Dockerfile has to know of it, found by reading: nothing of the project is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.cargo.lock import fault_in_lock, parse_lock
from factory.config.layers import folded
from factory.errors import ConfigurationError
from factory.scan.cargo_config import read_recorded
from factory.scan.discover import find_workspaces
from factory.scan.manifest import parse_toml
from factory.scan.membership import find_default_members, find_members
from factory.scan.model import UnscannableError
from factory.scan.source_tree import SourceTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from factory.cargo.lock import Lock
    from factory.config.layers import LayerTree
    from factory.scan.model import FoundWorkspace

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""What may stand in a Dockerfile: cargo lets the name of a program be nearly anything."""

_CHECKED_QUERIES = frozenset({"sqlx-macros", "sqlx-macros-core"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One workspace with a lock.

    `name` is that of its folder, fit for tags; `programs` are the binaries that `cargo build` makes, sorted.
    """

    name: str
    workspace: FoundWorkspace
    programs: tuple[str, ...]
    lock: Lock
    targets: tuple[str, ...]
    """The triples of `build.target` in its cargo configuration."""
    checked_queries: bool
    """Whether sqlx looks at queries while compiling."""
    saved_queries: bool
    """Whether `cargo sqlx prepare` left what that takes without a database."""

    def uses(self, crate: str) -> bool:
        """Whether some version of a crate is in the lock."""
        return any(folded(entry.package.name) == folded(crate) for entry in self.lock.packages)


def read_project(folder: Path) -> Project:
    """Read the workspace at `folder`.

    Raises `ConfigurationError` where there is none, its files are malformed, or it makes no program.
    """
    workspace = _workspace_at(folder)
    tree = SourceTree.of(workspace)
    try:
        members = find_members(tree, workspace.root / "Cargo.toml")
        built = find_default_members(tree, workspace.root / "Cargo.toml")
        programs = sorted({name for manifest in built for name in _programs(tree, manifest)})
        lock = _lock(tree, workspace)
        recorded = read_recorded(tree, workspace.root)
    except UnscannableError as error:
        raise ConfigurationError(error.what, advice=error.advice) from error
    _check_names(programs, folder)
    return Project(
        name=_tag(workspace.root.name),
        workspace=workspace,
        programs=tuple(programs),
        lock=lock,
        targets=recorded.build_targets,
        checked_queries=any(entry.package.name in _CHECKED_QUERIES for entry in lock.packages),
        saved_queries=any(tree.is_folder(manifest.parent / ".sqlx") for manifest in members)
        or tree.is_folder(workspace.root / ".sqlx"),
    )


def layer_by_anchors(project: Project, tree: LayerTree) -> tuple[str, str | None]:
    """Return the deepest layer with an anchor in the project's lock, and that anchor; without any, the root."""
    locked = {folded(entry.package.name): entry.package.name for entry in project.lock.packages}
    for profile in reversed(tree.layers):
        for anchor in sorted(profile.anchors):
            if folded(anchor) in locked:
                return profile.name, locked[folded(anchor)]
    return tree.root.name, None


def _workspace_at(folder: Path) -> FoundWorkspace:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such directory", advice="Name the directory of a Rust project.")
    found = find_workspaces([folder])
    real = folder.resolve()
    for workspace in found.workspaces:
        if workspace.root == real:
            return workspace
    for row in found.skipped:
        raise ConfigurationError(f"{row.path}: {row.reason}: {row.detail}", advice="Make it build with cargo first.")
    if found.workspaces:
        names = ", ".join(str(workspace.root.relative_to(real)) for workspace in found.workspaces)
        raise ConfigurationError(
            f"{folder}: no Cargo.toml with a Cargo.lock beside it, but below it are {names}",
            advice="Name one of these directories.",
        )
    raise ConfigurationError(f"{folder}: no Cargo.toml here", advice="Name the directory of a Rust project.")


def _lock(tree: SourceTree, workspace: FoundWorkspace) -> Lock:
    text = tree.read_text(workspace.lock)
    try:
        return parse_lock(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{workspace.lock}{fault_in_lock(text) or f': {error}'}",
            advice="Let cargo make it: `cargo generate-lockfile`.",
        ) from error


def _programs(tree: SourceTree, manifest: Path) -> Iterator[str]:
    document = _document(tree, manifest)
    package = document.get("package")
    if not isinstance(package, dict) or not isinstance(package.get("name"), str):
        return
    named = [table for table in document.get("bin", []) if isinstance(table, dict)]
    for table in named:
        # What asks for features is not built by a plain `cargo build`.
        if isinstance(table.get("name"), str) and not table.get("required-features"):
            yield table["name"]
    if package.get("autobins", True) is False:
        return
    taken = {(manifest.parent / path) for table in named if isinstance(path := table.get("path"), str)}
    explicit = {table.get("name") for table in named}
    for name, path in _discovered(tree, manifest.parent, package["name"]):
        if path not in taken and name not in explicit:
            yield name


def _discovered(tree: SourceTree, folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    main = folder / "src" / "main.rs"
    if tree.exists(main):
        yield package, main
    for name, is_folder in tree.names(folder / "src" / "bin"):
        path = folder / "src" / "bin" / name
        if is_folder and tree.exists(path / "main.rs"):
            yield name, path / "main.rs"
        elif not is_folder and path.suffix == ".rs":
            yield path.stem, path


def _document(tree: SourceTree, manifest: Path) -> Mapping[str, Any]:
    return parse_toml(tree.read_text(manifest))


def _check_names(programs: list[str], folder: Path) -> None:
    if not programs:
        raise ConfigurationError(
            f"{folder}: `cargo build` makes no program here, and an image is for running one",
            advice="Name the directory of a project with src/main.rs or [[bin]].",
        )
    strange = [name for name in programs if _NAME.fullmatch(name) is None]
    if strange:
        raise ConfigurationError(
            f"{folder}: {strange[0]!r}: not a name that can stand in a Dockerfile",
            advice="Call the program by letters, digits, `-`, `_` and `.`.",
        )


def _tag(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "app"
