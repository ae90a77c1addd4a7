"""The `links` names of packages: cargo resolves at most one package for each, so recipes must not mix two."""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path

from factory.model import PackageId


def links_names(unit_graph: str) -> dict[PackageId, str]:
    """Return the `links` name of each package with a build script, from the manifests beside the sources."""
    found: dict[PackageId, str] = {}
    for raw in json.loads(unit_graph)["units"]:
        if raw["mode"] == "run-custom-build":
            name = _links(raw["target"]["src_path"])
            if name is not None:
                found[PackageId.parse(raw["pkg_id"])] = name
    return found


@functools.cache
def _links(build_script: str) -> str | None:
    folder = next((parent for parent in Path(build_script).parents if (parent / "Cargo.toml").is_file()), None)
    if folder is None:
        return None
    manifest = tomllib.loads((folder / "Cargo.toml").read_text(encoding="utf-8"))
    name = manifest["package"].get("links")
    return str(name) if name is not None else None
