"""The contract: the surroundings in which cooked units stay fresh, and its form in `plan.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.analysis.model import ToolchainFacts
from factory.cargo.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The surroundings in which cooked units stay fresh."""

    cargo_home: str
    build_dir: str
    toolchain: ToolchainFacts
    variants: tuple[str, ...]
    rustflags: tuple[str, ...] = ()
    """What the CARGO_HOME sets as `build.rustflags` for everybody."""
    layout: Layout = Layout.BUILD_DIR
    """As what the CARGO_HOME sets `build_dir`."""


def contract_to_json(contract: Contract) -> dict[str, Any]:
    """Return a contract as JSON values: what the digests of plans and layers are of."""
    toolchain = contract.toolchain
    return {
        "cargo_home": contract.cargo_home,
        "build_dir": contract.build_dir,
        "layout": contract.layout.value,
        "toolchain": {
            "version": toolchain.version,
            "host": toolchain.host,
            "rustc_verbose": toolchain.rustc_verbose,
        },
        "variants": list(contract.variants),
        "rustflags": list(contract.rustflags),
    }


def contract_from_json(raw: Mapping[str, Any]) -> Contract:
    """Read what `contract_to_json` wrote; raise `KeyError`, `TypeError` or `ValueError` on anything else."""
    return Contract(
        cargo_home=raw["cargo_home"],
        build_dir=raw["build_dir"],
        layout=Layout(raw["layout"]),
        toolchain=ToolchainFacts(**raw["toolchain"]),
        variants=tuple(raw["variants"]),
        rustflags=tuple(raw["rustflags"]),
    )
