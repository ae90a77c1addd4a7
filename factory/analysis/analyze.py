"""The stage `analyze`: from workspaces on disk to an analysis, each workspace resolved once by its content."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.analysis.cfgs import cfgs_under
from factory.analysis.model import (
    Analysis,
    Status,
    ToolchainFacts,
    VariantUse,
    Workspace,
    analysis_from_json,
    analysis_to_json,
    join,
    merge_units,
)
from factory.cargo.home import known_registries
from factory.cargo.layout import reads_includes
from factory.cargo.lock import Lock, parse_lock
from factory.cargo.profile_table import derive_profile_table
from factory.cargo.resolve import Trouble, UnitGraph, Unresolved, explain, resolve
from factory.cargo.unit_graph import Surroundings
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import digest, write_text
from factory.graph import MergedGraph
from factory.process import ProgramFailedError
from factory.scan.cargo_config import read_recorded
from factory.scan.model import UnscannableError
from factory.scan.skeleton import skeleton_digest, write_skeleton
from factory.scan.source_tree import SourceTree
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.cargo.variants import Variant
    from factory.model import PackageId, Unit, UnitKey
    from factory.scan.cargo_config import RecordedConfig
    from factory.scan.model import FoundWorkspace, Scan, Skipped

# Raised whenever the same input would give another answer: older entries are then not read any more.
_CACHE_GENERATION = 8

_DOUBT = "forecasts may be too good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """All that resolving a workspace needs beside the workspace; `cache` is where answers are kept."""

    toolchain: Toolchain
    variants: tuple[Variant, ...]
    cargo_home: Path
    cache: Path
    jobs: int
    offline: bool = False
    timeout: float = 300
    """Seconds that cargo may take for one workspace and variant."""
    rustflags: tuple[str, ...] = ()
    """The images' own RUSTFLAGS: cargo puts them before those of a repository."""


def analyze(scan: Scan, resolver: Resolver, *, advance: Callable[[str], None]) -> Analysis:
    """Resolve every workspace of a scan; what cannot be resolved becomes an explained row.

    Raises `EnvironmentFaultError` where cargo would obey a file above every temporary directory.
    """
    registries = known_registries(resolver.cargo_home)

    def one(found: FoundWorkspace) -> Analysis:
        answer = _analyze_workspace(found, resolver, registries)
        advance(found.path)
        return answer

    with ThreadPoolExecutor(resolver.jobs) as pool:
        parts = list(pool.map(one, scan.workspaces))
    return join([*parts, _analysis(resolver, [_skipped_row(row) for row in scan.skipped], {}, {})])


def _analyze_workspace(found: FoundWorkspace, resolver: Resolver, registries: frozenset[str]) -> Analysis:
    """Return the analysis of one workspace, from the cache where its content was resolved before."""
    try:
        content = skeleton_digest(found, registries=registries)
        recorded = read_recorded(SourceTree.of(found), found.root, registries=registries)
    except UnscannableError as error:
        return _analysis(resolver, [_skipped_row(error.row(repo=found.repo, path=found.path))], {}, {})
    entry = resolver.cache / f"{_cache_key(content, resolver)}.json"
    kept = _read_cache(entry)
    if kept is None:
        kept, lasting = _resolve_workspace(found, resolver, registries)
        if lasting:
            write_text(entry, json.dumps(analysis_to_json(kept), separators=(",", ":")))
    # The same content may stand in two places: paths, and settings that change nothing, are not part of it.
    workspace = replace(
        kept.workspaces[0],
        path=found.path,
        repo=found.repo,
        toolchain_pin=found.toolchain_pin,
        rust_version=found.rust_version,
        ignored=tuple(str(setting) for setting in recorded.ignored),
        doubts=(
            *_doubts(recorded),
            *_without_include(recorded, resolver.toolchain.version),
            *_overridden(recorded, kept, resolver),
        ),
    )
    return replace(kept, workspaces=(workspace,))


def _cache_key(content: str, resolver: Resolver) -> str:
    toolchain = resolver.toolchain
    variants = [str(variant) for variant in resolver.variants]
    return digest([_CACHE_GENERATION, content, toolchain.rustc_verbose, variants, resolver.rustflags])[:40]


def _read_cache(entry: Path) -> Analysis | None:
    try:
        return analysis_from_json(json.loads(entry.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, ConfigurationError):
        # Written by another version, or damaged: the answer can be had again.
        return None


def _without(lacking: Mapping[str, Unresolved]) -> str:
    """Say which variants a workspace does not have; "" where it has all."""
    return "; ".join(f"without {name}: {answer.detail}" for name, answer in lacking.items())


def _doubts(recorded: RecordedConfig) -> Iterator[str]:
    """Say under which settings of the repository a build finds less than its unit graph promises."""
    places = {setting.key: setting.place for setting in reversed(recorded.ignored)}
    for key, what in recorded.doubts:
        yield f"{_DOUBT}: `{key}` ({places.get(key, '.cargo/config.toml')}) {what}"


def _without_include(recorded: RecordedConfig, version: str) -> Iterator[str]:
    """Say where a cargo of this version does not read what was read here."""
    if recorded.including and not reads_includes(version):
        yield f"forecasts may be wrong: `include` ({recorded.including}) was read, as cargo {version} does not"


def _overridden(recorded: RecordedConfig, analysis: Analysis, resolver: Resolver) -> Iterator[str]:
    """Say which build scripts cargo replaces by settings, as its unit graph does not."""
    triples = dict.fromkeys(platform or resolver.toolchain.host for platform in _platforms(recorded, resolver))
    names = sorted(set(analysis.links.values()))
    found = [recorded.build_script_override(triple, name) for triple in triples for name in names]
    settings = sorted({setting for setting in found if setting is not None})
    if settings:
        places = ", ".join(f"`{setting.key}` ({setting.place})" for setting in settings)
        yield f"{_DOUBT}: {places} replaces a build script, and what stands on it is compiled anew"


def _resolve_workspace(found: FoundWorkspace, resolver: Resolver, registries: frozenset[str]) -> tuple[Analysis, bool]:
    """Return the analysis, and whether it will be the same next time."""
    with scratch("factory-skeleton-") as folder:

        def work() -> tuple[Analysis, bool]:
            skeleton = write_skeleton(found, folder, registries=registries)
            return _resolve_copy(found, skeleton.root, skeleton.recorded, resolver)

        return _explained(found, resolver, work, folder)


def analyze_copy(
    found: FoundWorkspace, root: Path, recorded: RecordedConfig, resolver: Resolver, *, content: str
) -> Analysis:
    """Resolve a skeleton of `found` at `root` that was changed since it was written.

    `recorded` is what the repository's configuration says, and `content` a digest of all the skeleton's files: what
    was resolved before is not resolved again.
    """
    key = digest([content, recorded.content(), found.path, found.repo])
    entry = resolver.cache / f"{_cache_key(key, resolver)}.json"
    made = _read_cache(entry)
    if made is None:
        made, lasting = _explained(found, resolver, lambda: _resolve_copy(found, root, recorded, resolver), root)
        if lasting:
            write_text(entry, json.dumps(analysis_to_json(made), separators=(",", ":")))
    # The toolchain file is no part of a skeleton.
    row = replace(made.workspaces[0], toolchain_pin=found.toolchain_pin, rust_version=found.rust_version)
    return replace(made, workspaces=(row,))


def _explained(
    found: FoundWorkspace, resolver: Resolver, work: Callable[[], tuple[Analysis, bool]], folder: Path
) -> tuple[Analysis, bool]:
    """Return what `work` in `folder` gives; its failure is an explained row."""
    try:
        return work()
    except UnscannableError as error:
        return _analysis(resolver, [_skipped_row(error.row(repo=found.repo, path=found.path))], {}, {}), False
    except ProgramFailedError as error:
        answer = explain(error.completed.stderr, hide=str(folder))
        return _analysis(resolver, [_row(found, Status.SKIPPED, f"{answer.trouble}: {answer.detail}")], {}, {}), False
    except EnvironmentFaultError as error:
        row = _row(found, Status.SKIPPED, f"environment-fault: {str(error).replace(chr(10), '; ')}")
        return _analysis(resolver, [row], {}, {}), False
    except (OSError, ValueError) as error:
        row = _row(found, Status.SKIPPED, f"unreadable: {error}")
        return _analysis(resolver, [row], {}, {}), False


def _resolve_copy(
    found: FoundWorkspace, root: Path, recorded: RecordedConfig, resolver: Resolver
) -> tuple[Analysis, bool]:
    surroundings = _surroundings(recorded, resolver)
    graphs: dict[str, UnitGraph] = {}
    lacking: dict[str, Unresolved] = {}
    for variant in resolver.variants:
        answer = resolve(
            root,
            variant,
            toolchain=resolver.toolchain,
            surroundings=surroundings,
            cargo_home=resolver.cargo_home,
            offline=resolver.offline,
            timeout=resolver.timeout,
        )
        if isinstance(answer, UnitGraph):
            graphs[str(variant)] = answer
        elif answer.trouble is Trouble.PROFILE_UNKNOWN:
            # A profile of some repositories' own is no fault of the others.
            lacking[str(variant)] = answer
        else:
            row = _row(found, Status.SKIPPED, f"{answer.trouble}: {answer.detail}")
            return _analysis(resolver, [row], {}, {}), answer.lasts
    if not graphs:
        answer = min(lacking.values(), key=str)
        row = _row(found, Status.SKIPPED, f"{answer.trouble}: {answer.detail}")
        return _analysis(resolver, [row], {}, {}), True
    lock = parse_lock((root / "Cargo.lock").read_text(encoding="utf-8"))
    return _resolved(found, resolver, graphs, lock, remark=_without(lacking)), True


def _resolved(
    found: FoundWorkspace,
    resolver: Resolver,
    graphs: Mapping[str, UnitGraph],
    lock: Lock,
    *,
    remark: str,
) -> Analysis:
    units: list[Mapping[UnitKey, Unit]] = []
    uses: dict[str, VariantUse] = {}
    links: dict[PackageId, str] = {}
    for name, graph in graphs.items():
        shared = [unit for unit in graph.units if unit.is_registry or unit.is_git]
        merged = MergedGraph({unit.key: unit for unit in graph.units})
        needed = merged.dependencies_first(unit.key for unit in shared)
        units.append({key: merged.units[key] for key in needed})
        uses[name] = VariantUse(
            keys=tuple(sorted({unit.key for unit in shared if unit.is_registry})),
            git_keys=tuple(sorted({unit.key for unit in shared if unit.is_git})),
            profile=derive_profile_table(shared) if shared else None,
            rustflags=max((unit.rustflags for unit in shared), default=()),
        )
        links |= graph.links
    row = replace(_row(found, Status.RESOLVED, remark), variants=uses, lock=lock)
    return _analysis(resolver, [row], merge_units(units), links)


def _surroundings(recorded: RecordedConfig, resolver: Resolver) -> Surroundings:
    """Evaluate a repository's flags and linkers for every platform it may build for, as cargo would."""
    toolchain = resolver.toolchain
    rustflags: dict[str | None, tuple[str, ...]] = {}
    linkers: dict[str | None, str] = {}
    for platform in _platforms(recorded, resolver):
        triple = platform or toolchain.host
        under = cfgs_under(toolchain, triple)
        rustflags[platform] = recorded.effective_rustflags(triple, under, beneath=resolver.rustflags)
        linker = recorded.effective_linker(triple, under, beneath=resolver.rustflags)
        if linker is not None:
            linkers[platform] = linker
    return Surroundings(rustc=toolchain.rustc_verbose, rustflags=rustflags, linkers=linkers)


def _platforms(recorded: RecordedConfig, resolver: Resolver) -> tuple[str | None, ...]:
    """Return what a workspace may be built for: no target, those of its configuration, those of our variants."""
    configured = (_real_triple(triple, resolver.toolchain.host) for triple in recorded.build_targets)
    chosen = (variant.target for variant in resolver.variants if variant.target is not None)
    return tuple(dict.fromkeys((None, *configured, *chosen)))


def _real_triple(target: str, host: str) -> str:
    """Return what cargo takes a `build.target` for: it has a name of its own for the host."""
    return host if target == "host-tuple" else target


def _row(found: FoundWorkspace, status: Status, reason: str) -> Workspace:
    return Workspace(
        path=found.path,
        repo=found.repo,
        status=status,
        reason=reason,
        toolchain_pin=found.toolchain_pin,
        rust_version=found.rust_version,
        variants={},
        lock=Lock(()),
    )


def _skipped_row(row: Skipped) -> Workspace:
    return Workspace(
        path=row.path,
        repo=row.repo,
        status=Status.SKIPPED,
        reason=f"{row.reason}: {row.detail}",
        variants={},
        lock=Lock(()),
    )


def _analysis(
    resolver: Resolver,
    workspaces: Sequence[Workspace],
    units: Mapping[UnitKey, Unit],
    links: Mapping[PackageId, str],
) -> Analysis:
    toolchain = resolver.toolchain
    return Analysis(
        toolchain=ToolchainFacts(version=toolchain.version, host=toolchain.host, rustc_verbose=toolchain.rustc_verbose),
        variants=tuple(str(variant) for variant in resolver.variants),
        workspaces=tuple(sorted(workspaces, key=lambda workspace: workspace.path)),
        units=dict(sorted(units.items())),
        links=dict(sorted(links.items())),
    )
