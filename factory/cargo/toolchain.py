"""Toolchains: which rustc the keys are for, and cargo run with nothing of the caller's environment in its way."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cargo.fetching import PROXIES
from factory.cargo.rustflags import flags_for_resolution
from factory.errors import EnvironmentFaultError
from factory.process import LONGEST, run, which
from factory.triple import is_triple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from factory.cargo.fetching import Token
    from factory.process import Completed

INSTALL_ADVICE = "Install Rust (https://rustup.rs), or use a Docker engine that has the base image."

_ANSWER_SECONDS = 120.0
"""How long a toolchain may take to tell something of itself."""

# What would change a unit key or start another program. Registries, network and proxies stay as the user has them.
_DROPPED = re.compile(
    r"RUSTFLAGS|RUSTDOCFLAGS|RUSTC|RUSTC_.*|RUSTDOC|CARGO|CARGO_ENCODED_.*|CARGO_BUILD_.*|CARGO_PROFILE_.*"
    r"|CARGO_TARGET_.*|CARGO_UNSTABLE_.*|CARGO_INCREMENTAL|CARGO_ALIAS_.*|CARGO_CACHE_.*|CARGO_MANIFEST_.*"
    r"|CARGO_PKG_.*|CARGO_CRATE_NAME|RUST_BACKTRACE|RUST_LOG|CARGO_LOG|MAKEFLAGS|TARGET|HOST|OUT_DIR"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchain:
    """A rustc with its cargo, on this machine or in an image.

    `rustc_verbose` is the whole output of `rustc -vV`, which cargo hashes into every unit; `rustup_toolchain` is the
    name to give rustup, `None` for its default or where there is no rustup; `image` is where the toolchain is, `None`
    for this machine, and `platform` the one of that image to take, such as `linux/arm64`, empty for the engine's own.
    """

    version: str
    host: str
    rustc_verbose: str
    rustup_toolchain: str | None = None
    image: str | None = None
    platform: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    """More variables for cargo, which decide how sources are fetched."""
    tokens: tuple[Token, ...] = ()
    """What those may have to be fetched with: a container has to be given them."""

    def environment(self, cargo_home: Path | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment for cargo: ours, without whatever could change a unit key."""
        kept = {name: value for name, value in os.environ.items() if not _DROPPED.fullmatch(name)}
        # A pin in a scanned folder must neither switch nor download a toolchain.
        kept["RUSTUP_AUTO_INSTALL"] = "0"
        if self.rustup_toolchain is not None:
            kept["RUSTUP_TOOLCHAIN"] = self.rustup_toolchain
        kept["CARGO_TERM_COLOR"] = "never"
        kept["LC_ALL"] = "C.UTF-8"
        if cargo_home is not None:
            kept["CARGO_HOME"] = str(cargo_home)
        return kept | dict(self.variables) | dict(extra or {})

    def cargo(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        cargo_home: Path | None = None,
        extra: Mapping[str, str] | None = None,
        timeout: float = LONGEST,
        on_stderr: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run cargo in `cwd` and return what it said, whatever its exit code."""
        if self.image is not None:
            variables = dict(self.variables) | dict(extra or {})
            folders = _Folders(cwd, cargo_home)
            command = _in_container(self.image, self.platform, ["cargo", *args], folders, variables, self.tokens)
            return run(command, timeout=timeout, check=False, on_stderr=on_stderr)
        return run(
            ["cargo", *args],
            cwd=cwd,
            env=self.environment(cargo_home, extra),
            timeout=timeout,
            check=False,
            on_stderr=on_stderr,
        )

    def print_cfg(self, triple: str, flags: Sequence[str] = ()) -> str:
        """Return `rustc --print cfg` for a target: the facts that `cfg(...)` keys are evaluated against.

        Of `flags`, which may be hostile, rustc gets those that decide what holds, and no others.
        Raises `ValueError` for anything but a target triple, `ProgramFailedError` for one that rustc does not know.
        """
        if not is_triple(triple):
            message = f"not a target triple: {triple!r}"
            raise ValueError(message)
        args = ["rustc", "--print", "cfg", "--target", triple, *flags_for_resolution(flags)]
        if self.image is not None:
            return run(_in_container(self.image, self.platform, args, _Folders(), {}), timeout=_ANSWER_SECONDS).stdout
        return run(args, cwd=Path("/"), env=self.environment(), timeout=_ANSWER_SECONDS).stdout


def find_toolchain(version: str | None = None) -> Toolchain:
    """Return this machine's toolchain of `version` (`1.95.0`, or `1.95` for any patch release; `None`: the default).

    Raises `EnvironmentFaultError` when neither the default toolchain nor one that rustup has installed is of that
    version: unit keys of another compiler would describe nothing.
    """
    which("cargo", advice=INSTALL_ADVICE)
    seen = []
    for name in (None, version) if version else (None,):
        found = _inspect(name)
        if found is None:
            continue
        if version is None or found.version == version or found.version.startswith(f"{version}."):
            return found
        seen.append(found.version)
    raise EnvironmentFaultError(
        f"rustc {version} is not on this machine (found: {', '.join(seen) or 'none that runs'})",
        advice=f"Run `rustup toolchain install {version}`, or set `toolchain` to what the images will have.",
    )


def find_toolchain_in_image(image: str, platform: str = "") -> Toolchain:
    """Return the toolchain of a local image; raise `EnvironmentFaultError` where it has none that runs.

    It resolves and nothing else: what it compiled would lie in a container that is gone. `platform` is the one of the
    image to take, empty for the engine's own.
    """
    answer = run(_in_container(image, platform, ["rustc", "-vV"], _Folders(), {}), check=False, timeout=_ANSWER_SECONDS)
    if not answer.ok:
        of = f" for {platform}" if platform else ""
        raise EnvironmentFaultError(f"{image} has no rustc{of} that runs: {answer.stderr.strip()[:300]}")
    return replace(_toolchain(answer.stdout, None), image=image, platform=platform)


def find_sysroot(version: str | None = None) -> Path:
    """Return the directory of this machine's toolchain of `version`: compiler, cargo and standard library."""
    environment = find_toolchain(version).environment()
    answer = run(["rustc", "--print", "sysroot"], cwd=Path("/"), env=environment, timeout=_ANSWER_SECONDS)
    return Path(answer.stdout.strip())


def _inspect(rustup_toolchain: str | None) -> Toolchain | None:
    probe = Toolchain(version="", host="", rustc_verbose="", rustup_toolchain=rustup_toolchain)
    answer = run(["rustc", "-vV"], cwd=Path("/"), env=probe.environment(), check=False, timeout=_ANSWER_SECONDS)
    if not answer.ok:
        return None
    return _toolchain(answer.stdout, rustup_toolchain)


def _toolchain(rustc_verbose: str, rustup_toolchain: str | None) -> Toolchain:
    facts = dict(line.partition(": ")[::2] for line in rustc_verbose.splitlines() if ": " in line)
    return Toolchain(
        version=facts["release"],
        host=facts["host"],
        rustc_verbose=rustc_verbose,
        rustup_toolchain=rustup_toolchain,
    )


@dataclass(frozen=True, slots=True)
class _Folders:
    """Where a program runs in a container, and the CARGO_HOME it has; both are at the same paths as here."""

    cwd: Path = Path("/")
    cargo_home: Path | None = None

    @property
    def mounted(self) -> list[Path]:
        """What the container has to see."""
        folders = [] if self.cwd == Path("/") else [self.cwd]
        if self.cargo_home is not None:
            # Links in the CARGO_HOME for resolving lead to the downloads of the user's own.
            links = {link.resolve() for link in self.cargo_home.iterdir() if link.is_symlink()}
            folders += [self.cargo_home, *sorted(links)]
        return folders


def _in_container(
    image: str,
    platform: str,
    args: Sequence[str],
    folders: _Folders,
    extra: Mapping[str, str],
    tokens: Sequence[Token] = (),
) -> list[str]:
    """Return the command that runs a program in an image."""
    variables = dict(extra) | {"HOME": "/tmp", "CARGO_TERM_COLOR": "never"}  # noqa: S108 - in the container
    if folders.cargo_home is not None:
        variables["CARGO_HOME"] = str(folders.cargo_home)
    options = [f"--platform={platform}"] if platform else []
    options += [f"--volume={folder}:{folder}" for folder in folders.mounted]
    options += [f"--volume={file}:{file}:ro" for file in sorted(_files(extra, tokens))]
    # By name alone: docker takes the value from its own environment.
    by_name = [name for name in PROXIES if name in os.environ and name not in extra]
    by_name += [str(token.variable) for token in tokens if token.file is None]
    options += [f"--env={name}" for name in by_name]
    options += [f"--env={name}={value}" for name, value in sorted(variables.items())]
    user = f"--user={os.getuid()}:{os.getgid()}"
    # A process of its own that passes signals on: cargo as the first of a container would not end when it is told to.
    return [
        "docker",
        "run",
        "--rm",
        "--init",
        "--network=host",
        user,
        f"--workdir={folders.cwd}",
        *options,
        image,
        *args,
    ]


def _files(variables: Mapping[str, str], tokens: Sequence[Token]) -> set[Path]:
    """Return the files that tokens are in, and those of certificates that variables name."""
    named = {Path(value) for name, value in variables.items() if name.endswith(("CAINFO", "CERT_FILE"))}
    return named | {token.file for token in tokens if token.file is not None}
