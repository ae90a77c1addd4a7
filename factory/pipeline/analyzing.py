"""From repositories to what they compile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.analysis import analyze as analysis_stage
from factory.analysis.model import Status, Workspace
from factory.analysis.uses import pin_conflict
from factory.cargo.ask_index import refresh_index
from factory.consumer import misses as miss_reports
from factory.consumer.misses import read_misses
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError
from factory.files import cache_directory
from factory.pipeline.costing import with_sizes
from factory.pipeline.toolchains import resolving
from factory.process import ProgramFailedError
from factory.scan.build_history import builds_of, cut_short, fetch_history, read_history
from factory.scan.discover import find_workspaces
from factory.scan.git_source import fetch, is_git_url, without_secret
from factory.scan.model import Scan, Skipped, SkipReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.cargo.toolchain import Toolchain
    from factory.cargo.variants import Variant
    from factory.model import PackageId
    from factory.pipeline.run import Run
    from factory.scan.build_history import History
    from factory.scan.model import FoundWorkspace


def scan(run: Run, paths: Sequence[str]) -> Scan:
    """Find the workspaces below paths and git URLs; a git source that cannot be had becomes an explained row."""
    if not paths:
        raise ConfigurationError(
            "no repositories named", advice="Name PATHs, or list `sources` in registry-config.yaml."
        )
    for text in paths:
        if not is_git_url(text) and not Path(text).is_dir():
            raise ConfigurationError(f"{text}: no such directory", advice="Name directories or git URLs.")
    with ThreadPoolExecutor(run.jobs) as pool:
        folders = list(pool.map(_folder, paths))
    found = find_workspaces([folder for folder in folders if isinstance(folder, Path)])
    named = {folder.resolve(): text for folder, text in zip(folders, paths, strict=True) if isinstance(folder, Path)}
    found = replace(found, workspaces=_with_builds(run, found.workspaces, named))
    unreachable = tuple(row for row in folders if isinstance(row, Skipped))
    return replace(found, skipped=tuple(sorted((*found.skipped, *unreachable))))


def _with_builds(
    run: Run, workspaces: Sequence[FoundWorkspace], named: Mapping[Path, str]
) -> tuple[FoundWorkspace, ...]:
    """Say of every workspace how often it is built; `named` has the text that named each scanned folder."""
    builds = {row.repo_root: run.builds.get(named[row.scan_root.resolve()]) for row in workspaces}
    if run.settings.worth.builds == "history":
        unsaid = sorted(folder for folder, number in builds.items() if number is None)
        urls = {folder: text for folder, text in named.items() if is_git_url(text)}
        builds |= _by_history(run, unsaid, urls)
    return tuple(replace(row, builds=1.0 if (n := builds[row.repo_root]) is None else n) for row in workspaces)


def _by_history(run: Run, folders: Sequence[Path], urls: Mapping[Path, str]) -> dict[Path, float]:
    histories: dict[str, History] = {}
    for folder in folders:
        try:
            histories[str(folder)] = _history(folder, urls.get(folder))
        except EnvironmentFaultError as error:
            run.output.warn(f"counted as built as often as the mean: {error}")
    for name in cut_short(histories):
        run.output.warn(f"counted as built as often as the mean: {name}: a shallow copy of less than 90 days")
    return {Path(name): number for name, number in builds_of(histories).items()}


def _history(folder: Path, text: str | None) -> History:
    if text is None:
        return read_history(folder)
    url, _, ref = text.partition("#")
    return fetch_history(url, ref or None)


def analyze(run: Run, found: Scan, *, offline: bool) -> Analysis:
    """Resolve every workspace and weigh its crates; raise `BadAnswerError` where there is none at all."""
    require_manifests(found)
    resolver = resolver_of(run, offline=offline)
    with run.output.progress("resolving", len(found.workspaces)) as advance:
        analysis = analysis_stage.analyze(found, resolver, advance=advance)
    analysis = with_sizes(analysis)
    version = analysis.toolchain.version
    builds = {workspace.path: workspace.builds for workspace in found.workspaces}
    workspaces = (replace(row, builds=builds.get(row.path, 1.0)) for row in analysis.workspaces)
    return replace(analysis, workspaces=tuple(_tell_pin(workspace, version) for workspace in workspaces))


def resolver_of(run: Run, *, offline: bool) -> analysis_stage.Resolver:
    """Return what resolves workspaces as the images will compile them."""
    cargo_home, toolchain = resolving(run, run.settings.toolchain)
    variants = run.settings.cook.parsed_variants
    _require_targets(toolchain, variants)
    return analysis_stage.Resolver(
        toolchain=toolchain,
        variants=variants,
        cargo_home=cargo_home,
        cache=cache_directory() / "resolved",
        jobs=run.jobs,
        offline=offline,
        timeout=run.settings.limits.resolve_timeout,
        rustflags=run.settings.contract.rustflags,
    )


def ask_registry(run: Run, resolver: analysis_stage.Resolver, packages: Iterable[PackageId]) -> None:
    """Bring what cargo keeps of crates.io's index up to date once, so that nobody has to ask again for each step."""
    if resolver.offline:
        return
    problem = refresh_index(packages, toolchain=resolver.toolchain, cargo_home=resolver.cargo_home)
    if problem:
        run.output.warn(f"versions that were yanked or published since the last look are not known: {problem}")


def weigh_in(run: Run, analysis: Analysis, misses: Sequence[Path]) -> Analysis:
    """Return an analysis that counts those who reported misses as users too; say what cannot be helped by a plan."""
    if not misses:
        return analysis
    reports = read_misses(misses)
    weighed = miss_reports.weigh_in(reports, analysis)
    run.output.say(f"weighing in {len(reports)} miss reports")
    for row in weighed.unknown:
        run.output.say(
            f"{row.crate}@{row.version}: missed by {', '.join(row.repos)}, and no analysed repository has it"
        )
    return weighed.analysis


def require_manifests(found: Scan) -> None:
    """Raise `BadAnswerError` where there is no manifest at all."""
    if not found.workspaces and not found.skipped:
        raise BadAnswerError("no Cargo.toml below these paths", advice="Name directories that hold Rust repositories.")


def _require_targets(toolchain: Toolchain, variants: Sequence[Variant]) -> None:
    """Raise `ConfigurationError` for a target of ours that rustc does not know: no workspace is to blame for it."""
    for variant in variants:
        if variant.target is None:
            continue
        try:
            toolchain.print_cfg(variant.target)
        except ProgramFailedError as error:
            raise ConfigurationError(
                f"cook.variants: {variant}: rustc {toolchain.version} has no target {variant.target}",
                advice="`rustc --print target-list` lists those that it has.",
            ) from error


def _folder(text: str) -> Path | Skipped:
    if not is_git_url(text):
        return Path(text)
    url, _, ref = text.partition("#")
    try:
        return fetch(url, ref or None, cache_directory() / "git")
    except EnvironmentFaultError as error:
        shown = without_secret(text)
        return Skipped(
            path=shown, repo=shown, reason=SkipReason.SOURCE_UNREACHABLE, detail=str(error).replace("\n", "; ")
        )


def _tell_pin(workspace: Workspace, version: str) -> Workspace:
    """A pin to another toolchain does not keep a workspace out of the analysis, but its reader has to know."""
    conflict = pin_conflict(workspace, version)
    if workspace.status is Status.SKIPPED or conflict is None:
        return workspace
    return replace(workspace, reason="; ".join(filter(None, (conflict, workspace.reason))))
