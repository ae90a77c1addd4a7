"""Tools in the images: each is compiled from its crate in a target of its own, and copied on top of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.config.model import ToolSettings

FEATURES = {
    # The backends that docs/tools.md tells of; a directory is always one. The others double what has to be compiled.
    "sccache": "gha redis s3",
    # What cannot replace itself by another version.
    "cargo-nextest": "default-no-update",
}
"""The features of tools that are not compiled with their default ones."""


def wanted_tools(settings: ToolSettings) -> Mapping[str, str]:
    """Return the version of each tool that the configuration names, by the name of its crate, sorted."""
    return dict(sorted(settings.model_dump(by_alias=True, exclude_none=True).items()))


def tool_targets(tools: Mapping[str, str], common: Mapping[str, Any], *, base: str, epoch: int) -> dict[str, Any]:
    """Return a bake target for each tool, which stands on the one before; `common` is what all targets share.

    The last one holds all tools.
    """
    targets: dict[str, Any] = {}
    for tool, version in tools.items():
        below = {"below": f"target:{next(reversed(targets))}"} if targets else {}
        targets[f"tool-{tool}"] = {
            **common,
            "dockerfile": "tool.Dockerfile",
            "target": "tool",
            "contexts": {"base": f"docker-image://{base}", **below},
            "args": {
                "BELOW": "below" if below else "scratch",
                "TOOL": tool,
                "VERSION": version,
                "FEATURES": FEATURES.get(tool, "default"),
                "SOURCE_DATE_EPOCH": str(epoch),
            },
            "output": ["type=cacheonly"],
        }
    return targets
