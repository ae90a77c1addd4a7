"""Measures which bytes of a cooked directory a consumer needs: removes one kind after the other, and builds.

    python -m benchmarks.bytes WARM REPO CRATE

WARM was made by `factory build --backend local`; it is put back as it was, unless this is interrupted. REPO is a
repository with its sources whose crates are warm in it, CRATE one of them. For each kind of file: what it weighs; how
many registry units of REPO are still fresh (with a network: what was downloaded may be again); and whether CRATE, and
what stands on it, can be compiled anew on top of the rest.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.cargo.toolchain import find_toolchain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 1200.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of files by their paths in the warm directory; `empty` leaves them there without their content."""

    name: str
    pattern: str
    empty: bool = False

    def has(self, path: str) -> bool:
        """Whether a path, relative to the warm directory, is of this kind."""
        return re.fullmatch(self.pattern, path) is not None


_DEPS = r"build/.*/deps/[^/]*"
_SCRIPT = r"build/.*/build/[^/]*/build[-_]script[-_][^/]*"
_OUT = r"build/.*/build/[^/]*/out/.*"
KINDS = (
    Kind("nothing", r"(?!)"),
    Kind("libraries: .rlib", rf"{_DEPS}\.rlib"),
    Kind("metadata: .rmeta", rf"{_DEPS}\.rmeta"),
    Kind("metadata: .rmeta, emptied", rf"{_DEPS}\.rmeta", empty=True),
    Kind("macros: .so", rf"{_DEPS}\.so"),
    Kind("dep-info of rustc: .d", rf"{_DEPS}\.d|{_SCRIPT}\.d"),
    Kind("build scripts", rf"{_SCRIPT}(?<!\.d)"),
    Kind("build scripts, emptied", rf"{_SCRIPT}(?<!\.d)", empty=True),
    Kind("what build scripts said", r"build/.*/build/[^/]*/(?:output|root-output|stderr)"),
    Kind("OUT_DIR: all", _OUT),
    Kind("OUT_DIR: objects", rf"{_OUT}\.o"),
    Kind("OUT_DIR: archives", rf"{_OUT}\.a"),
    Kind("fingerprints: .json", r"build/.*/\.fingerprint/.*\.json"),
    Kind("fingerprints: dep-info", r"build/.*/\.fingerprint/.*/dep-[^/]*"),
    Kind("fingerprints: invoked.timestamp", r"build/.*/invoked\.timestamp"),
    Kind("registry/index", r"cargo-home/registry/index/.*"),
    Kind("registry/cache: .crate", r"cargo-home/registry/cache/.*"),
)


@dataclass(frozen=True)
class Kitchen:
    """The warm directory and the consumer that is built on it."""

    warm: Path
    repo: Path
    crate: str

    def row(self, kind: Kind) -> str:
        """Return the row of the table for a kind."""
        paths = [path for path in _files(self.warm) if kind.has(str(path.relative_to(self.warm)))]
        size = sum({path.stat().st_ino: path.stat().st_size for path in paths}.values())
        if not paths and kind.pattern != "(?!)":
            return f"| {kind.name} | 0 | 0 | - | - |"
        fresh = self._with(paths, kind, partial(self._build, compiles=False))
        again = self._with(paths, kind, self._anew) if fresh == self.all_fresh else "-"
        return f"| {kind.name} | {len(paths)} | {size / 1e6:.1f} | {fresh} | {again} |"

    @cached_property
    def all_fresh(self) -> str:
        """What is fresh where nothing is removed."""
        return self._with([], KINDS[0], partial(self._build, compiles=False))

    def _with(self, paths: list[Path], kind: Kind, measure: Callable[[Path], str]) -> str:
        """Measure on a copy of the build directory; what lies in the CARGO_HOME, which cannot move, is put back."""
        with tempfile.TemporaryDirectory(dir=self.warm.parent) as name:
            build, kept = Path(name, "build"), Path(name, "kept")
            shutil.copytree(self.warm / "build", build, symlinks=True)
            shutil.copytree(self.warm / "cargo-home", kept, symlinks=True)
            try:
                for path in paths:
                    inside = path.relative_to(self.warm)
                    _remove(Path(name, inside) if inside.parts[0] == "build" else path, empty=kind.empty)
                return measure(build)
            finally:
                shutil.rmtree(self.warm / "cargo-home")
                kept.rename(self.warm / "cargo-home")

    def _anew(self, build: Path) -> str:
        for library in sorted(build.rglob(f".fingerprint/{self.crate}-*/lib-*")):
            shutil.rmtree(library.parent, ignore_errors=True)  # it may have two such files
        return self._build(build, compiles=True)

    def _build(self, build: Path, *, compiles: bool) -> str:
        args = ["build", "--release", "--locked", "--keep-going", *EVENT_ARGS]
        with tempfile.TemporaryDirectory() as target:
            answer = find_toolchain().cargo(
                [*args, "--target-dir", target, "--config", f'build.build-dir="{build}"'],
                cwd=self.repo,
                cargo_home=self.warm / "cargo-home",
                timeout=SECONDS,
                extra={} if compiles else {"RUSTC_WRAPPER": str(_idle_rustc(build.parent))},
            )
        events = parse_events(answer.stdout, answer.stderr)
        said = f"{events.fresh.total()} of {events.total}"
        return said if answer.ok or not compiles else f"{said}, and the build fails"


def main() -> int:
    """Print one row for each kind of files."""
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    kitchen = Kitchen(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), sys.argv[3])
    print("| without | files | MB | fresh | fresh, after one crate is to be compiled anew |")
    print("| --- | --- | --- | --- | --- |")
    for kind in KINDS:
        print(kitchen.row(kind), flush=True)
    return 0


def _idle_rustc(folder: Path) -> Path:
    """Return a wrapper of rustc that compiles nothing, which no fingerprint knows of: what is fresh is told at once."""
    wrapper = folder / "rustc"
    wrapper.write_text('#!/bin/sh\ncase "$*" in *--emit*) exit 1 ;; esac\nexec "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in sorted(names))


def _remove(path: Path, *, empty: bool) -> None:
    time = path.stat().st_mtime_ns
    path.unlink()
    if empty:
        path.touch()
        os.utime(path, ns=(time, time))


if __name__ == "__main__":
    sys.exit(main())
