"""The `links` names of packages: cargo resolves at most one package for each, so recipes must not mix two."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import tomli

from factory.model import PackageId, SourceKind

if TYPE_CHECKING:
    from collections.abc import Mapping


def links_names(unit_graph: str, commits: Mapping[PackageId, PackageId] | None = None) -> dict[PackageId, str]:
    """Return the `links` name of each registry or git package that has one, from the manifests beside the sources.

    `commits` are those of the lock, as for `parse_unit_graph`.
    """
    found: dict[PackageId, str] = {}
    for raw in json.loads(unit_graph)["units"]:
        package = PackageId.parse(raw["pkg_id"])
        # The build script of a path package may lie anywhere, and no recipe holds it.
        if raw["mode"] == "run-custom-build" and package.kind in {SourceKind.REGISTRY, SourceKind.GIT}:
            name = _links(raw["target"]["src_path"])
            if name is not None:
                found[(commits or {}).get(package, package)] = name
    return found


@functools.cache
def _links(build_script: str) -> str | None:
    folder = next((parent for parent in Path(build_script).parents if (parent / "Cargo.toml").is_file()), None)
    if folder is None:
        return None
    manifest = tomli.loads((folder / "Cargo.toml").read_text(encoding="utf-8-sig"))
    # Cargo read this manifest as `package` or by its old name.
    package = manifest.get("package") or manifest.get("project") or {}
    name = package.get("links")
    return str(name) if name is not None else None
