"""What cargo says of a build: which units it compiled and which it found fresh.

Read from `--message-format=json` with `-v`. Cargo's JSON has `fresh` for every compiled unit, but not for build-script
runs: those it runs are told apart by the `Running` lines of `-v`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factory.model import Mode, PackageId, SourceKind, Unit, UnitKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EVENT_ARGS = ("--message-format=json-render-diagnostics", "-v")
"""What to give cargo so that `parse_events` can read its answer."""

_RUNNING = re.compile(r"\s+Running `(?:[A-Z_]+=\S+ )*(?P<program>[^` ]*build-script-[^` ]*)`?")
_FAILED = re.compile(
    r"error: (?:failed to run custom build command for `(?P<script>\S+) v(?P<script_version>[^`\s]+)[^`]*`"
    r"|could not compile `(?P<crate>[^`\s]+)`)"
)
_MOST_DETAIL_LINES = 12
_NOISE = re.compile(r"\s*(?:cargo::?[a-z-]+=|note: run with `RUST_BACKTRACE)")
_NEXT = ("error:", "warning: build failed", "   Compiling")
_THREAD = re.compile(r"(thread '[^']*') \(\d+\)")


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Identity:
    """All that cargo's JSON says of a unit. Rarely two units have the same one: they are counted, not told apart."""

    package: PackageId
    target_name: str
    target_kind: str
    features: tuple[str, ...]
    is_run: bool
    opt_level: str
    debuginfo: str
    debug_assertions: bool
    overflow_checks: bool

    @property
    def label(self) -> str:
        """`name@version (what)`, for people."""
        what = "build script" if self.target_kind == "custom-build" else self.target_kind
        return f"{self.package.label} ({what}{' run' if self.is_run else ''})"


@dataclass(frozen=True, slots=True)
class Failure:
    """A package that did not compile, and what was said of it."""

    package_name: str
    version: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEvents:
    """The registry units of one build, each as often as it occurred, fresh and compiled; beside them those of git."""

    fresh: Counter[Identity]
    compiled: Counter[Identity]
    path_packages: frozenset[str]
    failures: tuple[Failure, ...]
    success: bool
    git_fresh: Counter[Identity] = field(default_factory=Counter)
    git_compiled: Counter[Identity] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many registry units cargo dealt with."""
        return self.fresh.total() + self.compiled.total()

    @property
    def done(self) -> Counter[Identity]:
        """Registry and git units that are there now, fresh or compiled."""
        return self.fresh + self.compiled + self.git_fresh + self.git_compiled


def identity(unit: Unit) -> Identity:
    """Return what cargo's JSON would say of a unit."""
    is_run = unit.mode is Mode.RUN_CUSTOM_BUILD
    profile = unit.profile
    return Identity(
        package=unit.package.without_commit,
        target_name="" if is_run else unit.target_name,
        target_kind=unit.target_kind,
        # The JSON names nothing but the package of a build-script run.
        features=() if is_run else unit.features,
        is_run=is_run,
        opt_level="" if is_run else profile.opt_level,
        debuginfo="" if is_run else profile.debuginfo,
        debug_assertions=not is_run and profile.debug_assertions,
        overflow_checks=not is_run and profile.overflow_checks,
    )


def parse_events(stdout: str, stderr: str) -> BuildEvents:
    """Parse the output of one cargo call with `EVENT_ARGS`; lines of other programs are passed over."""
    fresh: Counter[Identity] = Counter()
    compiled: Counter[Identity] = Counter()
    own: set[str] = set()
    scripts: dict[str, PackageId] = {}
    runs: Counter[PackageId] = Counter()
    success = False
    for message in _messages(stdout):
        reason = message.get("reason")
        if reason == "build-finished":
            success = bool(message["success"])
        if reason not in {"compiler-artifact", "build-script-executed"}:
            continue
        package = PackageId.parse(message["package_id"])
        if package.kind is SourceKind.PATH:
            own.add(package.name)
        if package.kind not in {SourceKind.REGISTRY, SourceKind.GIT}:
            continue
        if reason == "build-script-executed":
            runs[package] += 1
            continue
        (fresh if message["fresh"] else compiled)[_artifact_identity(package, message)] += 1
        if message["target"]["kind"] == ["custom-build"]:
            scripts |= {_script(name): package for name in message["filenames"]}
    executed = _executed(stderr, scripts)
    for package, count in runs.items():
        run = _run_identity(package)
        done_now = min(count, executed[package])
        compiled[run] += done_now
        fresh[run] += count - done_now
    return BuildEvents(
        fresh=_of(SourceKind.REGISTRY, fresh),
        compiled=_of(SourceKind.REGISTRY, compiled),
        git_fresh=_of(SourceKind.GIT, fresh),
        git_compiled=_of(SourceKind.GIT, compiled),
        path_packages=frozenset(own),
        failures=_failures(stderr),
        success=success,
    )


def _of(kind: SourceKind, counted: Counter[Identity]) -> Counter[Identity]:
    return Counter({same: count for same, count in counted.items() if count > 0 and same.package.kind is kind})


def keys_done(identities: Mapping[UnitKey, Identity], done: Counter[Identity]) -> frozenset[UnitKey]:
    """Return the keys of the units that are surely among `done`.

    Where units share an identity and not all of them were done, none of them counts.
    """
    by_identity: dict[Identity, list[UnitKey]] = {}
    for key, same in identities.items():
        by_identity.setdefault(same, []).append(key)
    return frozenset(key for same, keys in by_identity.items() if done[same] >= len(keys) for key in keys)


def _messages(stdout: str) -> Iterable[dict[str, Any]]:
    for line in stdout.splitlines():
        if line.startswith("{"):
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(message, dict):
                yield message


def _artifact_identity(package: PackageId, message: Mapping[str, Any]) -> Identity:
    profile = message["profile"]
    return Identity(
        package=package,
        target_name=message["target"]["name"],
        target_kind=message["target"]["kind"][0],
        features=tuple(sorted(message["features"])),
        is_run=False,
        opt_level=profile["opt_level"],
        debuginfo=str(profile["debuginfo"] or 0),
        debug_assertions=profile["debug_assertions"],
        overflow_checks=profile["overflow_checks"],
    )


def _run_identity(package: PackageId) -> Identity:
    return Identity(
        package=package,
        target_name="",
        target_kind="custom-build",
        features=(),
        is_run=True,
        opt_level="",
        debuginfo="",
        debug_assertions=False,
        overflow_checks=False,
    )


def _script(path: str) -> str:
    """The last two parts of a build script's path: cargo may print the path relative to where it runs."""
    return "/".join(path.rsplit("/", 2)[-2:])


def _executed(stderr: str, scripts: Mapping[str, PackageId]) -> Counter[PackageId]:
    executed: Counter[PackageId] = Counter()
    for line in stderr.splitlines():
        match = _RUNNING.match(line)
        package = scripts.get(_script(match["program"])) if match else None
        if package is not None:
            executed[package] += 1
    return executed


def _failures(stderr: str) -> tuple[Failure, ...]:
    lines = stderr.splitlines()
    found = []
    for number, line in enumerate(lines):
        match = _FAILED.match(line)
        if match is None:
            continue
        detail = [text for text in lines[number + 1 : number + 40] if text.strip() and not _NOISE.match(text)]
        stop = next((index for index, text in enumerate(detail) if text.startswith(_NEXT)), None)
        found.append(
            Failure(
                match["script"] or match["crate"],
                match["script_version"],
                # The number of the thread is another each time.
                _THREAD.sub(r"\1", "\n".join([line, *detail[:stop][-_MOST_DETAIL_LINES:]])),
            )
        )
    return tuple(found)
