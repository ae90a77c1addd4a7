"""Which RUSTFLAGS of a repository may be used, where its dependencies are resolved and where its crates are cooked.

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
# Linkers read files and load plugins as well: `-Wl,-plugin,x.so` is one word like the others.
_LINKER = (
    r"--as-needed|--no-as-needed|--build-id(?:=\w+)?|--compress-debug-sections=\w+|--eh-frame-hdr|--gc-sections"
    r"|--no-gc-sections|--hash-style=\w+|--icf=\w+|--no-undefined|--sort-common|--strip-all|--strip-debug|-O\d|-S|-s"
    r"|-z,[a-z-]+(?:=\d+)?"
)
_HARMLESS = re.compile(
    rf"--(?:check-)?cfg=.+|-[AWDF].+|--(?:allow|warn|deny|forbid|cap-lints)=.+|-C(?:{_CODEGEN})(?:=[\w.,+-]*)?"
    rf"|-Clink-arg=-fuse-ld=(?:mold|lld|gold|bfd)|-Clink-args?=-Wl(?:,(?:{_LINKER}))+|-g|-O",
    re.ASCII,
)
_DECIDES_CFG = re.compile(
    r"--cfg=[^\x00-\x1f]+|-O|-C(?:target-feature|target-cpu|panic|debug-assertions|opt-level)=[\w.,+-]+", re.ASCII
)
_WITH_VALUE = frozenset({"--cfg", "--check-cfg", "--allow", "--warn", "--deny", "--forbid", "--cap-lints"})


def why_not_cookable_flags(flags: Sequence[str]) -> str | None:
    """Say why nothing is cooked with these flags; `None` when they are harmless and mean the same everywhere."""
    for flag in flags:
        # rustc replaces such a word by the lines of the file before it looks at any option.
        if flag.startswith("@"):
            return f"RUSTFLAGS hold `{flag}`, a file with more flags"
    for flag in joined(flags):
        if flag == "-Ctarget-cpu=native":
            return "RUSTFLAGS hold `target-cpu=native`, which is another processor on every machine"
        if _HARMLESS.fullmatch(flag) is None:
            return f"RUSTFLAGS hold `{flag}`, which may name programs or files of another machine"
    return None


def flags_for_resolution(flags: Iterable[str]) -> tuple[str, ...]:
    """Return the flags that change which `cfg(...)` hold, hence which dependencies there are; no others.

    Only these may reach a rustc that resolves for a scanned repository. Each is one argument, because rustc reads a
    file for any argument that begins with `@`.
    """
    return tuple(flag for flag in joined(flags) if _DECIDES_CFG.fullmatch(flag))


def joined(flags: Iterable[str]) -> Iterator[str]:
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
