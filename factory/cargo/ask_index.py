"""Has cargo ask registries' indexes about crates, and download none: it keeps the answers in its CARGO_HOME."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from factory.cargo.index_cache import index_path
from factory.cargo.resolve import explain
from factory.files import write_text
from factory.model import CRATES_IO
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.model import PackageId

ASK_ARGS = ("generate-lockfile",)
"""The cargo arguments that ask, in the folder of a question. It ends with an error, which `was_answered` reads."""

NOBODYS = "_nobody_can_publish_a_crate_whose_name_begins_so_and_is_longer_than_64"
"""A crate that no registry has: whoever published one of this name would stop every cook that asks.

crates.io takes none that begins with `_` or has more than 64 characters; cargo asks an index for it as for any other. A
private registry may take it, from those who may publish there. `Dockerfiles/fetch.sh` has the name too.
"""

REFRESH_SECONDS = 120

_HEAD = '[package]\nname = "factory-index"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n'
_ANSWERED = re.compile(r"^error: no matching package", re.MULTILINE)


def write_questions(packages: Iterable[PackageId], folder: Path) -> tuple[Path, ...]:
    """Write for each registry a package that makes cargo ask it about its crates among `packages`; return where.

    Cargo asks a registry about all of a package's dependencies at once, and only then looks for versions that go
    together. As one of them does not exist there, it does not even begin. `index.paths` lists where in the index each
    crate is.
    """
    by_source: dict[str, set[str]] = {}
    for package in packages:
        by_source.setdefault(package.source, set()).add(package.name)
    return tuple(
        _write_question(source, sorted(names), folder / str(number))
        for number, (source, names) in enumerate(sorted(by_source.items()))
    )


def was_answered(stderr: str) -> bool:
    """Whether cargo, by what it said, had all answers; one may be that a crate is gone from the registry."""
    return _ANSWERED.search(stderr) is not None


def refresh_index(packages: Iterable[PackageId], *, toolchain: Toolchain, cargo_home: Path) -> str:
    """Bring what a CARGO_HOME keeps of crates.io's index up to date; return what hindered it, empty where nothing did.

    That is how a yank becomes known.
    """
    asked = [package for package in packages if package.source == CRATES_IO]
    if not asked:
        return ""
    with scratch("factory-index-") as scratch_folder:
        (folder,) = write_questions(asked, scratch_folder)
        answer = toolchain.cargo(ASK_ARGS, cwd=folder, cargo_home=cargo_home, timeout=REFRESH_SECONDS)
        if was_answered(answer.stderr):
            return ""
        return explain(answer.stderr, hide=str(folder)).detail


def _write_question(source: str, names: Sequence[str], folder: Path) -> Path:
    registry = "" if source == CRATES_IO else f', registry-index = "{source.removeprefix("registry+")}"'
    rows = [f'{name} = {{ version = "*"{registry} }}\n' for name in (*names, NOBODYS)]
    write_text(folder / "Cargo.toml", "".join((_HEAD, "[dependencies]\n", *rows)))
    write_text(folder / "src" / "lib.rs", "")
    write_text(folder / "index.paths", "".join(f"{index_path(name)}\n" for name in names))
    return folder
