"""What rustc says of a platform under some RUSTFLAGS: by that cargo chooses the `cfg(...)` keys of a configuration."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from factory.scan.cfg_expression import CfgSet

if TYPE_CHECKING:
    from factory.cargo.toolchain import Toolchain
    from factory.scan.cargo_config import CfgsUnder


def cfgs_under(toolchain: Toolchain, triple: str) -> CfgsUnder:
    """Return what tells the cfgs of a platform under flags; rustc is asked once for each, when they are needed.

    It raises as `Toolchain.print_cfg` does.
    """

    @functools.cache
    def under(flags: tuple[str, ...]) -> CfgSet:
        return CfgSet.parse(toolchain.print_cfg(triple, flags))

    return under
