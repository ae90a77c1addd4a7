"""Where a package's targets are: the paths at which cargo would find a source file, and does."""

from __future__ import annotations

import enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory.scan.manifest import Package, read_manifest
from factory.scan.model import SkipReason, UnscannableError
from factory.scan.source_tree import SourceTree, is_utf8, normalised

if TYPE_CHECKING:
    from collections.abc import Iterator


class TargetKind(enum.StrEnum):
    """What a target's stub must hold to compile."""

    LIBRARY = "library"
    PROGRAM = "program"
    """Anything with a `main`: binary, example, test, benchmark."""
    BUILD_SCRIPT = "build-script"


_FOLDERS = ("src/bin", "examples", "tests", "benches")


def find_targets(tree: SourceTree, manifest: Path) -> dict[Path, TargetKind]:
    """Return the target files of the package at `manifest` that exist; none for a virtual manifest.

    All conventional places count, whatever the manifest says about discovery: cargo's own rules then choose
    among the same files as in the repository. Raises `UnscannableError` for a target outside the scanned
    folder, and for a package without any target.
    """
    package = read_manifest(tree, manifest).package
    if package is None:
        return {}
    found = {
        path: kind
        for path, kind in _candidates(tree, manifest, package)
        # A file that is both library and program compiles as either with a `main`: the later kind stands.
        if tree.exists(path)
    }
    if not set(found.values()) - {TargetKind.BUILD_SCRIPT}:
        what = f"{tree.display(manifest)}: the package `{package.name}` has no target file"
        raise UnscannableError(SkipReason.NO_TARGET, what, advice="add src/lib.rs or src/main.rs")
    return found


def _candidates(tree: SourceTree, manifest: Path, package: Package) -> Iterator[tuple[Path, TargetKind]]:
    folder = manifest.parent
    yield folder / "src/lib.rs", TargetKind.LIBRARY
    for path in package.library_paths:
        yield _explicit(tree, manifest, path), TargetKind.LIBRARY
    # Edition 2015 finds `src/NAME.rs` and `src/bench.rs` for targets without a path.
    for name in (package.name.replace("-", "_"), package.name, *package.target_names, "bench", "main"):
        yield _explicit(tree, manifest, f"src/{name}.rs"), TargetKind.PROGRAM
    for name in _FOLDERS:
        yield from ((path, TargetKind.PROGRAM) for path in _discovered(tree, folder / name))
    for path in package.target_paths:
        yield _explicit(tree, manifest, path), TargetKind.PROGRAM
    for path in ("build.rs", *package.build_scripts):
        yield _explicit(tree, manifest, path), TargetKind.BUILD_SCRIPT


def _discovered(tree: SourceTree, folder: Path) -> Iterator[Path]:
    for name, is_folder in tree.names(folder):
        if name.startswith(".") or not is_utf8(name):
            continue
        if is_folder:
            yield folder / name / "main.rs"
        elif PurePosixPath(name).suffix == ".rs":
            yield folder / name


def _explicit(tree: SourceTree, manifest: Path, path: str) -> Path:
    target = normalised(manifest.parent / path)
    if PurePosixPath(path).is_absolute() or not tree.holds(target):
        what = f"{tree.line_of(manifest, path)}: the target `{path}` is outside the scanned folder"
        raise UnscannableError(SkipReason.TARGET_OUTSIDE, what, advice="name a file of the repository")
    return target
