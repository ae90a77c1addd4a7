"""Asks cargo for the unit graph of a skeleton, and explains why there is none."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

import tomlkit

from factory.cargo.links import links_names
from factory.cargo.lock import fault_in_lock, parse_lock
from factory.cargo.rustflags import flags_for_resolution
from factory.cargo.unit_graph import parse_unit_graph
from factory.process import ProgramTimeoutError
from factory.toml_lines import dotted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.cargo.unit_graph import Surroundings
    from factory.cargo.variants import Variant
    from factory.model import PackageId, Unit

UNIT_GRAPH_ARGS = ("--unit-graph", "-Zunstable-options")
UNIT_GRAPH_ENVIRONMENT = {"RUSTC_BOOTSTRAP": "1"}
"""Lets a stable cargo print its unit graph. It compiles nothing then; never set it while cooking."""


class Trouble(enum.StrEnum):
    """Why cargo could not resolve a workspace."""

    LOCK_MALFORMED = "malformed-lock"
    LOCK_OUTDATED = "lock-outdated"
    MSRV = "rust-version-too-new"
    NIGHTLY = "needs-nightly"
    REGISTRY_UNKNOWN = "registry-unknown"
    LOGIN = "login-needed"
    GIT_UNREACHABLE = "git-dependency-unreachable"
    PACKAGE_MISSING = "package-missing"
    NETWORK = "network"
    TARGET_UNKNOWN = "target-unknown"
    PROFILE_UNKNOWN = "profile-unknown"
    NO_TARGET = "no-target"
    PATH_MISSING = "path-dependency-missing"
    MANIFEST = "malformed-manifest"
    TIMEOUT = "timeout"
    OTHER = "cargo-failed"


_PASSING = frozenset(
    {
        Trouble.REGISTRY_UNKNOWN,
        Trouble.LOGIN,
        Trouble.GIT_UNREACHABLE,
        Trouble.PACKAGE_MISSING,
        Trouble.NETWORK,
        Trouble.TARGET_UNKNOWN,
        Trouble.TIMEOUT,
        Trouble.OTHER,
    }
)
"""Troubles that may be gone next time."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A workspace that cargo does not resolve: what is wrong, in cargo's words, and what to do."""

    trouble: Trouble
    detail: str
    outside: bool = False
    """Whether cargo blames a file that is no part of the workspace, nor of what was downloaded."""

    @property
    def lasts(self) -> bool:
        """Whether the same workspace will have the same trouble next time."""
        return self.trouble not in _PASSING and not self.outside


@dataclass(frozen=True, slots=True)
class UnitGraph:
    """The units of a workspace in cargo's order, and the `links` names of their packages."""

    units: tuple[Unit, ...]
    links: Mapping[PackageId, str]


_MOST_CHARACTERS = 200
_ABSOLUTE = re.compile(r"(?<![^\s`'\"(=])/[^\s`'\"):,]+")
"""A path from the root on: not the one in a URL, and not `and/or`."""
_NOT_A_CAUSE = re.compile(
    r"Caused by:|(= )?(help|note):|As a reminder|failed to clone into:|See http|\d* *\||-->|process didn't exit|--- std"
)

# The first match wins: the special before the general.
_SIGNS: tuple[tuple[str, Trouble, str], ...] = (
    (r"requires? rustc \S+|requires a rustc version", Trouble.MSRV, "build images with a newer toolchain"),
    (
        r"feature `\S+` is required|only allowed on nightly|nightly version of Cargo",
        Trouble.NIGHTLY,
        "leave the feature out, or build images with a nightly toolchain",
    ),
    (
        r"failed to parse lock file|checksum for `.*` changed between lock files",
        Trouble.LOCK_MALFORMED,
        "make the lock anew with the cargo of the images",
    ),
    (
        r"lock file .* needs to be updated|cannot update the lock file|cannot create the lock file",
        Trouble.LOCK_OUTDATED,
        "run `cargo update --workspace` in it and commit the lock",
    ),
    (
        r"registry index was not found in any configuration",
        Trouble.REGISTRY_UNKNOWN,
        "name it under `registries` in registry-config.yaml",
    ),
    (
        r"authenticated registries require|token (rejected|found) for|failed with `?(no token|action|status)|"
        r"credential provider|got 40[13]|status code 40[13]|HTTP 40[13]",
        Trouble.LOGIN,
        "name the registry and where its token is under `registries` in registry-config.yaml",
    ),
    (
        r"could not find specification for target|error loading target specification",
        Trouble.TARGET_UNKNOWN,
        "correct it, or build images with a toolchain that has it",
    ),
    (
        r"profile `\S+` is not defined",
        Trouble.PROFILE_UNKNOWN,
        "define it in the workspace's Cargo.toml, or leave the variant out",
    ),
    (
        r"(failed to (clone|fetch|load source|get|update).*git|Unable to update (https?|ssh|git|file)\S*://)",
        Trouble.GIT_UNREACHABLE,
        "check the URL, and name its host and where its token is under `git` in registry-config.yaml",
    ),
    (
        r"no matching package|failed to select a version|version .* is yanked|does not have these features",
        Trouble.PACKAGE_MISSING,
        "run `cargo update` in it, or check the registry",
    ),
    (
        r"download|network|dns|timed out|could not resolve host|Connection refused|failed to query",
        Trouble.NETWORK,
        "check the network, or leave out `--offline`",
    ),
    (r"no targets specified in the manifest", Trouble.NO_TARGET, "add src/main.rs or src/lib.rs"),
    (
        r"failed to read `[^`]*Cargo.toml`|failed to load source for dependency",
        Trouble.PATH_MISSING,
        "check the path",
    ),
    (
        r"failed to parse manifest|TOML parse error|virtual manifest|workspace|--> \S*Cargo\.toml:\d",
        Trouble.MANIFEST,
        "mend the manifest",
    ),
)

# Cargo's texts are long and end in a drawing; what matters of them is mostly one name.
_ESSENCES: Mapping[Trouble, tuple[tuple[str, str], ...]] = {
    Trouble.LOCK_MALFORMED: (
        (r"lock file version `?(\d+)", r"Cargo.lock is of version \1, which this cargo does not read"),
        (r"<<<<<<<|=======|>>>>>>>", "Cargo.lock holds a merge conflict"),
        (r"checksum for `([^`]+)`", r"the checksum of `\1` in Cargo.lock is not the registry's"),
    ),
    Trouble.LOCK_OUTDATED: ((r"lock file", "Cargo.lock does not fit the manifests"),),
    Trouble.NIGHTLY: ((r"feature `([^`]+)`", r"the cargo feature `\1` needs a nightly cargo"),),
    Trouble.REGISTRY_UNKNOWN: ((r"any configuration: `([^`]+)`", r"nothing says where the registry `\1` is"),),
    Trouble.LOGIN: ((r"failed to get `([^`]+)` as a dep", r"`\1` comes from a registry that wants a token"),),
    Trouble.GIT_UNREACHABLE: ((r"((?:https?|ssh|git|file)://[^\s#`']+)", r"\1 cannot be fetched"),),
    Trouble.PACKAGE_MISSING: (
        (r"on `([^`]+)` with feature `([^`]+)` but", r"the chosen version of `\1` has no feature `\2`"),
        (r"no matching package named `([^`]+)`", r"the package `\1` cannot be had"),
        (r"requirement `([^`]+)` \(locked to ([^)]+)\)", r"version \2 for `\1` cannot be had"),
        (r"requirement `([^`]+)`", r"no version for `\1` can be had"),
    ),
    Trouble.TARGET_UNKNOWN: ((r"for target \"([^\"]+)\"", r"rustc has no target `\1`"),),
    Trouble.PROFILE_UNKNOWN: ((r"profile `([^`]+)` is not", r"there is no cargo profile `\1`"),),
    Trouble.PATH_MISSING: ((r"failed to read `([^`]+)`", r"`\1` cannot be read"),),
}


def resolve(
    workspace: Path,
    variant: Variant,
    *,
    toolchain: Toolchain,
    surroundings: Surroundings,
    cargo_home: Path,
    offline: bool = False,
    timeout: float = 300,
) -> UnitGraph | Unresolved:
    """Return the units that `cargo <variant>` would deal with in `workspace`, a skeleton, each with its key."""
    if _names_cargo_features(workspace):
        # The variable that makes cargo print the graph makes it accept features of nightly as well.
        args = ["metadata", "--no-deps", "--format-version=1", *(["--offline"] if offline else [])]
        plain = toolchain.cargo(args, cwd=workspace, cargo_home=cargo_home, timeout=timeout)
        if not plain.ok:
            return _blamed(plain.stderr, workspace, cargo_home)
    settings = _cfg_settings(surroundings, toolchain.host)
    args = [*variant.args, "--locked", *UNIT_GRAPH_ARGS, *settings, *(["--offline"] if offline else [])]
    try:
        answer = toolchain.cargo(
            args,
            cwd=workspace,
            cargo_home=cargo_home,
            extra=UNIT_GRAPH_ENVIRONMENT,
            timeout=timeout,
        )
    except ProgramTimeoutError as error:
        return Unresolved(Trouble.TIMEOUT, error.what)
    if not answer.ok:
        return _with_line(_blamed(answer.stderr, workspace, cargo_home), workspace)
    commits = parse_lock((workspace / "Cargo.lock").read_text(encoding="utf-8")).commits
    units = parse_unit_graph(answer.stdout, surroundings, root=workspace.resolve(), commits=commits)
    return UnitGraph(units, links_names(answer.stdout, commits))


def _blamed(stderr: str, workspace: Path, cargo_home: Path) -> Unresolved:
    # What is downloaded is as the lock says: it changes with the workspace only.
    own = (str(workspace), str(cargo_home))
    paths = (PurePath(path) for path in _ABSOLUTE.findall(stderr))
    outside = any(not any(path.is_relative_to(folder) for folder in own) for path in paths)
    return replace(explain(stderr, hide=str(workspace)), outside=outside)


def _with_line(answer: Unresolved, workspace: Path) -> Unresolved:
    """Name the line of a malformed lock: cargo draws it, and tells it to people only."""
    if answer.trouble is not Trouble.LOCK_MALFORMED:
        return answer
    fault = fault_in_lock((workspace / "Cargo.lock").read_text(encoding="utf-8", errors="replace"))
    remedy = answer.detail.rpartition("; ")[2]
    return replace(answer, detail=f"Cargo.lock{fault[:_MOST_CHARACTERS]}; {remedy}") if fault else answer


def _names_cargo_features(workspace: Path) -> bool:
    return any(b"cargo-features" in manifest.read_bytes() for manifest in workspace.rglob("Cargo.toml"))


def _cfg_settings(surroundings: Surroundings, host: str) -> list[str]:
    """Return arguments that give each platform its flags which set a `cfg(...)`, as only those may reach a rustc here.

    They decide which dependencies there are. In a variable, those of one platform would count for all.
    """
    by_triple = {platform or host: flags_for_resolution(flags) for platform, flags in surroundings.rustflags.items()}
    return [
        word
        for triple, flags in sorted(by_triple.items())
        if flags
        for word in ("--config", f"{dotted(('target', triple, 'rustflags'))}={tomlkit.item(list(flags)).as_string()}")
    ]


def explain(stderr: str, *, hide: str = "") -> Unresolved:
    """Name the trouble in cargo's error text; `hide` is a folder of ours that would mean nothing to the reader."""
    text = stderr.replace(f"{hide}/", "").replace(hide, ".") if hide else stderr
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Warnings and progress come before; the error is what remains.
    start = next((number for number, line in enumerate(lines) if line.startswith("error")), 0)
    said = lines[start:]
    for pattern, trouble, remedy in _SIGNS:
        if re.search(pattern, " ".join(said), re.IGNORECASE):
            return Unresolved(trouble, f"{_essence(trouble, said)}; {remedy}")
    return Unresolved(Trouble.OTHER, f"{_essence(Trouble.OTHER, said)}; see what `cargo build --locked` says in it")


def _essence(trouble: Trouble, said: list[str]) -> str:
    """Return what a reader needs of an error of many lines, in one or two short sentences."""
    text = " ".join(said)
    if trouble is Trouble.MSRV and (needs := re.findall(r"(\S+)@\S+ requires rustc (\d+\.\d+(?:\.\d+)?)", text)):
        return _needed_rustc(needs)
    for pattern, sentence in _ESSENCES.get(trouble, ()):
        if match := re.search(pattern, text):
            return match.expand(sentence)[:_MOST_CHARACTERS]
    lines = [line.removeprefix("error: ").rstrip(".") for line in said if not _NOT_A_CAUSE.match(line)]
    causes = [line[:_MOST_CHARACTERS] for line in lines] or ["no reason given"]
    if trouble is Trouble.MANIFEST:
        # That the manifest is malformed was said; the last cause says why, and the drawing where.
        places = re.findall(r"(?:--> |manifest at `)([^\s`]*Cargo\.toml(?::\d+:\d+)?)", text)
        return ": ".join([*places[-1:], causes[-1]])
    return "; ".join(dict.fromkeys((causes[0], causes[-1])))


def _needed_rustc(needs: list[tuple[str, str]]) -> str:
    version = max((version for _, version in needs), key=lambda text: [int(part) for part in text.split(".")])
    names = sorted({name for name, _ in needs})
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{others} {'need' if others else 'needs'} rustc {version}"
