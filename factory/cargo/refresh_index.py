"""Has cargo ask the registry's index about crates again: that is how a yank becomes known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.cargo.resolve import Trouble, explain
from factory.files import write_text
from factory.model import CRATES_IO
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.model import PackageId

REFRESH_SECONDS = 120


def refresh_index(packages: Iterable[PackageId], *, toolchain: Toolchain, cargo_home: Path) -> str:
    """Bring what a CARGO_HOME keeps of the index up to date; return what hindered it, empty where nothing did.

    Cargo asks the index about every crate before it finds out whether they go together, which does not matter here.
    """
    names = sorted({package.name for package in packages if package.source == CRATES_IO})
    if not names:
        return ""
    table = "".join(f'{name} = {{ version = "*", default-features = false }}\n' for name in names)
    package = '[package]\nname = "factory-index"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n'
    with scratch("factory-index-") as folder:
        write_text(folder / "Cargo.toml", package + table)
        write_text(folder / "src" / "lib.rs", "")
        answer = toolchain.cargo(["generate-lockfile"], cwd=folder, cargo_home=cargo_home, timeout=REFRESH_SECONDS)
        if answer.ok:
            return ""
        found = explain(answer.stderr, hide=str(folder))
    return found.detail if found.trouble in {Trouble.NETWORK, Trouble.LOGIN} else ""
