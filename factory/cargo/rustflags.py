"""Which RUSTFLAGS of a repository may be used where its crates are cooked.

Flags can name programs to run and files to load, and some mean something else on every machine. What is not known to
be harmless is not cooked; its units are reported as left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_CODEGEN = (
    "code-model|codegen-units|control-flow-guard|debug-assertions|debuginfo|embed-bitcode|force-frame-pointers"
    "|force-unwind-tables|inline-threshold|link-dead-code|lto|no-prepopulate-passes|no-redzone|opt-level"
    "|overflow-checks|panic|prefer-dynamic|relocation-model|rpath|split-debuginfo|strip|symbol-mangling-version"
    "|target-cpu|target-feature"
)
_HARMLESS = re.compile(
    rf"--cfg=.+|-[AWDF].+|--(?:allow|warn|deny|forbid|cap-lints)=.+|-C(?:{_CODEGEN})(?:=[\w.,+-]*)?"
    r"|-Clink-arg=-fuse-ld=(?:mold|lld|gold|bfd)|-Clink-args?=-Wl,[\w,=.-]+|-g|-O"
)
_WITH_VALUE = frozenset({"--cfg", "--allow", "--warn", "--deny", "--forbid", "--cap-lints"})


def why_not_cookable_flags(flags: Sequence[str]) -> str | None:
    """Say why nothing is cooked with these flags; `None` when they are harmless and mean the same everywhere."""
    for flag in _joined(flags):
        if flag == "-Ctarget-cpu=native":
            return "RUSTFLAGS hold `target-cpu=native`, which is another processor on every machine"
        if _HARMLESS.fullmatch(flag) is None:
            return f"RUSTFLAGS hold `{flag}`, which may name programs or files of another machine"
    return None


def _joined(flags: Iterable[str]) -> Iterator[str]:
    """Yield each flag with its value as one word: `-C x` and `--codegen=x` as `-Cx`, `--cfg x` as `--cfg=x`."""
    waiting = iter(flags)
    for flag in waiting:
        if flag in {"-C", "--codegen"}:
            yield f"-C{next(waiting, '')}"
        elif flag in {"-A", "-W", "-D", "-F"}:
            yield f"{flag}{next(waiting, '')}"
        elif flag in _WITH_VALUE:
            yield f"{flag}={next(waiting, '')}"
        else:
            yield f"-C{flag.removeprefix('--codegen=')}" if flag.startswith("--codegen=") else flag
