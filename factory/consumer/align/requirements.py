"""Requirements of the repository's own manifests that keep a version out, and how they would let it in."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import tomlkit

from factory.cargo.requirement import is_met

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from factory.consumer.align.model import Move

_TABLES = ("dependencies", "build-dependencies", "dev-dependencies")


def widened(texts: Mapping[str, str], moves: Sequence[Move]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the manifests with requirements that allow each move, and the edits: `path: crate`, and from what to what.

    Only those change that allow the locked version and not the other; comments and format stay as they are.
    """
    made = dict(texts)
    edits: list[tuple[str, str]] = []
    for path, text in sorted(texts.items()):
        if not path.endswith("Cargo.toml"):
            continue
        document = tomlkit.parse(text)
        found = [edit for move in moves for edit in _widen(document, move)]
        if found:
            made[path] = tomlkit.dumps(document)
            edits += [(f"{path}: {name}", f"{old} -> {new}") for name, old, new in found]
    return made, edits


def _widen(document: tomlkit.TOMLDocument, move: Move) -> Iterator[tuple[str, str, str]]:
    for table in _tables(document):
        for name, value in list(table.items()):
            detail = value if isinstance(value, MutableMapping) else {"version": value}
            requirement = detail.get("version")
            if detail.get("package", name) != move.package.name or not isinstance(requirement, str):
                continue
            if _keeps_out(requirement, move):
                # Build metadata takes no part in a requirement: cargo warns of it.
                wanted = move.version.partition("+")[0]
                if isinstance(value, MutableMapping):
                    value["version"] = wanted
                else:
                    table[name] = wanted
                yield name, str(requirement), wanted


def _tables(document: tomlkit.TOMLDocument) -> Iterator[MutableMapping[str, Any]]:
    """Yield every table of dependencies: the package's own, those of platforms, and the workspace's."""
    platforms = _table(document, "target")
    for holder in (document, _table(document, "workspace"), *(_table(platforms, name) for name in platforms)):
        for name in _TABLES:
            yield _table(holder, name)


def _table(holder: MutableMapping[str, Any], name: str) -> MutableMapping[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, MutableMapping) else {}


def _keeps_out(requirement: str, move: Move) -> bool:
    try:
        return is_met(requirement, move.package.version) and not is_met(requirement, move.version)
    except ValueError:
        # What we cannot read we do not edit.
        return False
