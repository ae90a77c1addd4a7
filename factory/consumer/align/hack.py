"""The crate that adds features: in the style of cargo-hakari, it names crates and has no code.

Every line that is added to a manifest of the repository ends in a marker, so that all of it can be taken away again.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import tomli

from factory.cargo.compatibility import caret_range
from factory.errors import ConfigurationError
from factory.model import Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.model import PackageId

HEAD = "# Written by `factory align`, which writes it anew: it adds features to crates that are used anyway.\n"
MARKER = "# factory align"
NAMES = ("workspace-hack", "warm-workspace-hack")
"""What the crate is called: the second name where the repository has a `workspace-hack` of its own."""

LIBRARY = "// Empty: the manifest is what counts.\n"
BUILD_SCRIPT = """\
// Cargo compiles build-dependencies only for a package with a build script.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
"""
_HEADER = re.compile(r"^[ \t]*\[[ \t]*dependencies[ \t]*\][ \t]*(#.*)?$", re.MULTILINE)


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Entry:
    """A package on one side, with all the features that it shall have there."""

    package: PackageId
    side: Side
    features: tuple[str, ...]


def hack_manifest(name: str, entries: Iterable[Entry], *, system: str) -> str:
    """Return the crate's manifest; it has dependencies on one operating system only, that of the images."""
    rows = sorted(entries)
    # On both sides alike: cargo takes no package that one manifest calls by two names.
    versions = Counter(package.name for package in {row.package for row in rows})
    parts = [
        HEAD,
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\npublish = false\n',
        'description = "Features on which the organisation agrees"\n',
    ]
    for side, table in ((Side.TARGET, "dependencies"), (Side.HOST, "build-dependencies")):
        own = [row for row in rows if row.side is side]
        if own:
            parts.append(f"\n[target.'cfg(target_os = \"{system}\")'.{table}]\n")
            parts += [_dependency(row, alias=versions[row.package.name] > 1) for row in own]
    return "".join(parts)


def with_dependency(text: str, name: str, path: str) -> str:
    """Return a manifest that depends on the crate; raise `ConfigurationError` where there is no place for the line.

    Nothing else of it changes by a byte.
    """
    line = f'{name} = {{ version = "0.1", path = {json.dumps(path)} }} {MARKER}\n'
    header = _HEADER.search(text)
    if header is None:
        made = f"{text}{'' if text.endswith(chr(10)) else chr(10)}[dependencies] {MARKER}\n{line}"
    else:
        end = header.end()
        rest = text[end:].removeprefix("\n")
        made = f"{text[:end]}\n{line}{rest}"
    _require_only(text, made, name)
    return made


def without_marked_lines(text: str) -> str:
    """Return a manifest without any line that `with_dependency` added."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.rstrip().endswith(MARKER))


def is_ours(manifest: str) -> bool:
    """Whether a manifest is that of our crate."""
    return manifest.startswith(HEAD)


def hack_folder(texts: Mapping[str, str], root: str) -> str | None:
    """Return the folder of our crate among the manifests of a copy; `None` where there is none."""
    for name in NAMES:
        folder = str(PurePosixPath(root) / name)
        if is_ours(texts.get(f"{folder}/Cargo.toml", "")):
            return folder
    return None


def free_name(texts: Mapping[str, str], root: str) -> str:
    """Return what our crate can be called; raise `ConfigurationError` where the repository has both names."""
    taken = {_package_name(text) for path, text in texts.items() if path.endswith("Cargo.toml")}
    for name in NAMES:
        if name not in taken and f"{PurePosixPath(root) / name}/Cargo.toml" not in texts:
            return name
    raise ConfigurationError(f"the repository has packages called {' and '.join(NAMES)}", advice="Rename one.")


def without_hack(texts: Mapping[str, str], root: str) -> dict[str, str]:
    """Return the manifests and the lock as they would be if our crate had never been added."""
    folder = hack_folder(texts, root)
    if folder is None:
        return dict(texts)
    return {
        path: without_marked_lines(text) if path.endswith("Cargo.toml") else text
        for path, text in texts.items()
        if path != f"{folder}/Cargo.toml"
    }


def with_hack(
    texts: Mapping[str, str], root: str, name: str, entries: Sequence[Entry], users: Iterable[str], *, system: str
) -> dict[str, str]:
    """Return the manifests with our crate, of which the packages at the manifests `users` depend."""
    folder = str(PurePosixPath(root) / name)
    made = dict(texts) | {f"{folder}/Cargo.toml": hack_manifest(name, entries, system=system)}
    for path in sorted(users):
        made[path] = with_dependency(texts[path], name, os.path.relpath(folder, str(PurePosixPath(path).parent)))
    return made


def why_no_crate(texts: Mapping[str, str], root: str, users: Iterable[str]) -> str:
    """Say why our crate cannot be added to manifests that are without it, and what to do; "" where it can."""
    try:
        with_hack(texts, root, free_name(texts, root), (), users, system="")
    except ConfigurationError as error:
        return f"{error.what}. {error.advice}"
    return ""


def _dependency(entry: Entry, *, alias: bool) -> str:
    package = entry.package
    version = package.version.partition("+")[0]
    caret = re.sub(r"[^0-9A-Za-z]+", "-", caret_range(package.version))
    key = f"{package.name}-{caret}" if alias else package.name
    renamed = f'package = "{package.name}", ' if alias else ""
    features = ", ".join(json.dumps(feature) for feature in entry.features)
    return f'{key} = {{ {renamed}version = "={version}", default-features = false, features = [{features}] }}\n'


def _package_name(text: str) -> str:
    package = tomli.loads(text).get("package", {})
    return str(package.get("name", "")) if isinstance(package, dict) else ""


def _require_only(before: str, after: str, name: str) -> None:
    """Raise unless the change is the one dependency and nothing else."""
    old = tomli.loads(before)
    try:
        new = tomli.loads(after)
        added = new["dependencies"].pop(name)
    except (tomli.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"no line can be added to the dependencies of `{_package_name(before)}`, which are no table of their own",
            advice="Write them as a table: [dependencies].",
        ) from error
    old.setdefault("dependencies", {})
    if new != old or "path" not in added:
        raise ConfigurationError(f"`{_package_name(before)}` depends on another `{name}`", advice="Rename it.")
