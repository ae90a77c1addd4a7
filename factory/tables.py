"""What people read: the answers of the commands as tables."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from statistics import mean
from typing import TYPE_CHECKING

from factory.analysis.model import Status
from factory.analysis.remarks import Remark, fold_remarks, reasons_of
from factory.analysis.uses import crate_uses, pin_uses, profile_uses
from factory.files import canonical_json
from factory.planning.system_packages import Purpose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from factory.analysis.model import Analysis
    from factory.cook.report import LayerReport
    from factory.output import Output
    from factory.pipeline.building import DryRun
    from factory.pipeline.pruning import Pruned
    from factory.planning.agreement import Agreement, Shared
    from factory.planning.explain import Explanation, UnitExplanation
    from factory.planning.plan import Forecast, Plan
    from factory.planning.system_packages import PackageUse
    from factory.proof.model import Proof
    from factory.proof.second_build_model import SecondBuilds
    from factory.publish.model import PushedLayer
    from factory.publish.prunable import Verdict

_MOST_VERSIONS = 4
_MOST_ROWS = 25
_MOST_REASON = 300
_MOST_CRATES = 5
_MOST_IMAGES = 5
_PURPOSES = {Purpose.TOOL: "compiling", Purpose.LIBRARY: "compiling", Purpose.RUNTIME: "running"}


def print_analysis(analysis: Analysis, packages: Sequence[PackageUse], output: Output, *, top: int) -> None:
    """Print crates by repositories, profiles, pins, Debian packages, and every workspace that needs a remark."""
    uses = crate_uses(analysis)
    repos = {workspace.repo for workspace in analysis.resolved}
    if top and uses:
        output.answer_table(
            f"Crates by repositories (the first {min(top, len(uses))} of {len(uses)})",
            ("crate", "repos", "units", "feature sets", "versions in use (repos)"),
            [(use.name, use.repos, use.units, use.feature_sets, _counted(use.versions)) for use in uses[:top]],
            right=("repos", "units", "feature sets"),
        )
    output.answer_table("Cargo profiles", ("profile", "workspaces"), profile_uses(analysis), right=("workspaces",))
    output.answer_table("Toolchain pins", ("pin", "workspaces"), pin_uses(analysis), right=("workspaces",))
    if packages:
        output.answer_table(
            "System packages",
            ("package", "for", "needed by crates", "repos"),
            [(use.package, _PURPOSES[use.purpose], _few(use.crates), len(use.repos)) for use in packages],
            right=("repos",),
        )
    _print_remarks(analysis, output)
    ignored = sorted({row for workspace in analysis.workspaces for row in workspace.ignored})
    if ignored:
        output.answer_table(
            "Settings of repositories that took no effect here", ("setting",), [(row,) for row in ignored]
        )
    registry = {key for workspace in analysis.resolved for use in workspace.variants.values() for key in use.keys}
    skipped = sum(workspace.status is Status.SKIPPED for workspace in analysis.workspaces)
    reasons = f" ({reasons_of(_remarks(analysis))})" if skipped else ""
    output.answer(
        f"{len(repos)} repositories, {len(analysis.resolved)} workspaces resolved with rustc "
        f"{analysis.toolchain.version}, {skipped} skipped{reasons}; {len(registry)} distinct registry units"
    )


def _print_remarks(analysis: Analysis, output: Output) -> None:
    remarks = _remarks(analysis)
    if not remarks:
        return
    rows = fold_remarks(remarks, all_of_them=output.is_verbose)
    output.answer_table(
        "Skipped, or with a remark",
        ("workspace", "status", "why"),
        [
            (
                row.where,
                f"{'skipped' if row.skipped else 'resolved'}{f' ({len(row.paths)})' if len(row.paths) > 1 else ''}",
                row.text,
            )
            for row in rows
        ],
    )
    if len(rows) < len(remarks):
        output.say(f"{len(remarks)} workspaces in {len(rows)} rows: -v shows each, and --json has all")


def _remarks(analysis: Analysis) -> list[Remark]:
    return [
        Remark(path=w.path, repo=w.repo, skipped=w.status is Status.SKIPPED, text=w.remark)
        for w in analysis.workspaces
        if w.remark
    ]


def print_plan(plan: Plan, output: Output) -> None:
    """Print layers, what was left out, and the forecast for each workspace."""
    output.answer_table(
        "Layers",
        ("layer", "parent", "units", "recipes", "estimated MB", "budget MB"),
        [
            (
                layer.name,
                layer.parent or "base image",
                len(layer.keys),
                len(plan.recipes_of(layer.name)),
                _megabytes(layer.estimated_bytes),
                "-" if layer.budget_bytes is None else _megabytes(layer.budget_bytes),
            )
            for layer in plan.layers
        ],
        right=("units", "recipes", "estimated MB", "budget MB"),
    )
    quality = plan.quality
    output.answer(f"Saves, where each workspace is built once: {'; '.join(_savings(plan))}.")
    most = f"{_percent(quality.gap)} above this one ({quality.method})"
    output.answer(f"No selection within these budgets is worth more than {most}")
    installed = [(layer.name, ", ".join(layer.packages)) for layer in plan.layers if layer.packages]
    if installed:
        output.answer_table("Debian packages that the images install", ("layer", "packages"), installed)
    if plan.excluded:
        shown = sorted(plan.excluded, key=lambda row: (-row.repos, row.package))[:_MOST_ROWS]
        output.answer_table(
            f"Left out ({len(shown)} of {len(plan.excluded)}; all are in the plan)",
            ("crate", "units", "repos", "why"),
            [(row.package, row.units, row.repos, row.reason) for row in shown],
            right=("units", "repos"),
        )
    _print_forecast(plan, output)
    if plan.agreement is not None:
        _print_agreement(plan.agreement, output)


def _savings(plan: Plan) -> Iterator[str]:
    """Say what is saved of the seconds of all workspaces: as they are, and with what they have of the baseline."""
    for aligned in dict.fromkeys(row.aligned for row in plan.forecast):
        rows = [row for row in plan.forecast if row.aligned == aligned]
        cold = sum(row.wall_cold for row in rows)
        saved = cold - sum(row.wall_warm[plan.image_for(row)] for row in rows)
        yield f"{saved:.0f} of {cold:.0f} s {f'with {aligned}' if aligned else 'as they are'}"


def _print_forecast(plan: Plan, output: Output) -> None:
    jobs = ", ".join(str(jobs) for jobs in sorted({row.jobs for row in plan.forecast}))
    title = f"Forecast: registry units that will be fresh, and predicted seconds for all of them on {jobs} jobs"
    if len(plan.layers) <= _MOST_IMAGES:
        names = [layer.name for layer in plan.layers]
        columns = ("workspace", "variant", "cold s", *(word for name in names for word in (name, "s")))
        rows = [(*_cold(row), *(cell for name in names for cell in _warm(row, name))) for row in plan.forecast]
        output.answer_table(f"{title}, by image", columns, rows, right=("cold s", "s", *names))
    else:
        # Images for groups of repositories are many, and each has one.
        images = [plan.image_for(row) for row in plan.forecast]
        output.answer_table(
            f"{title}, on the smallest image with most of them",
            ("workspace", "variant", "cold s", "image", "fresh", "s"),
            [(*_cold(row), image, *_warm(row, image)) for row, image in zip(plan.forecast, images, strict=True)],
            right=("cold s", "fresh", "s"),
        )
    remarks = list(dict.fromkeys((row.path, row.remark) for row in plan.forecast if row.remark))
    if remarks:
        output.answer_table("The forecast may not hold for", ("workspace", "because"), remarks)


def _cold(row: Forecast) -> tuple[str, str, str]:
    return row.path, row.variant, f"{row.wall_cold:.0f}"


def _warm(row: Forecast, image: str) -> tuple[str, str]:
    return _share(row.hits[image], row.total), f"{row.wall_warm[image]:.0f}"


def _print_agreement(found: Agreement, output: Output) -> None:
    if found.crates:
        output.answer_table(
            "Agree on these first: seconds of all repositories that two of them would share (docs/baseline.md)",
            (
                "crate",
                "versions",
                "feature sets",
                "meet at",
                "add where lacking",
                "blocked s",
                "alone s",
                "with those above s",
            ),
            [
                (
                    f"{row.crate} {row.range}",
                    row.versions,
                    row.feature_sets,
                    row.version,
                    _few(row.add),
                    f"{row.blocked:.0f}",
                    f"{row.alone:.0f}",
                    f"{row.together:.0f}",
                )
                for row in found.crates
            ],
            right=("versions", "feature sets", "blocked s", "alone s", "with those above s"),
        )
    rows = [row for row in found.workspaces if row.total.units]
    if not rows:
        return
    output.answer_table(
        "Compile seconds that another repository has too: as it is, and if all met at the baseline",
        ("workspace", "seconds", "as it is", "versions", "and features", "and cargo profile"),
        [
            (
                row.path,
                f"{row.total.seconds:.0f}",
                *(_of(step, row.total) for step in (row.as_is, row.versions, row.features, row.profile)),
            )
            for row in rows
        ],
        right=("seconds", "as it is", "versions", "and features", "and cargo profile"),
    )
    means = (
        (word, mean(getattr(row, step).seconds / row.total.seconds for row in rows if row.total.seconds))
        for word, step in (
            ("as it is", "as_is"),
            ("with the baseline's versions", "versions"),
            ("and features", "features"),
            ("and cargo profile", "profile"),
        )
    )
    output.answer("On the mean: " + ", ".join(f"{share * 100:.0f} % {word}" for word, share in means))


def _of(part: Shared, whole: Shared) -> str:
    return f"{part.seconds * 100 / whole.seconds if whole.seconds else 100:.0f} %"


def print_explanation(explanation: Explanation, output: Output) -> None:
    """Print each library of a crate with its verdict, then what the planned ones save whom; --json has all units."""
    shown = [row for row in explanation.units if row.is_library] or list(explanation.units)
    for row in shown:
        output.answer(f"{row.unit}  [{', '.join(row.features)}]  {row.side}, {row.key[:8]}")
        output.answer(
            f"  {_guess(f'{row.seconds:.1f} s', row)} to compile, {_guess(f'{row.bytes / 1e6:.1f} MB', row)}; "
            f"saves {sum(row.saves.values()):.1f} s of builds (repositories: {len(row.repos)})"
        )
        output.answer(f"  {_verdict(row)}")
    saved: Counter[str] = Counter()
    for row in explanation.units:
        if row.planned:
            saved.update(row.saves)
    if saved:
        ordered = sorted(saved.items(), key=lambda pair: (-pair[1], pair[0]))
        output.answer_table(
            f"What the planned ones save ({min(_MOST_ROWS, len(ordered))} of {len(ordered)} repositories)",
            ("repository", "s"),
            [(repo, f"{seconds:.1f}") for repo, seconds in ordered[:_MOST_ROWS]],
            right=("s",),
        )
    if any(not row.measured for row in explanation.units):
        output.say("? is estimated: not cooked and measured yet")
    if not explanation.confirmed:
        output.say("cargo has not confirmed what is planned: `factory plan` does")


def _guess(text: str, row: UnitExplanation) -> str:
    return text if row.measured else f"{text}?"


def _verdict(row: UnitExplanation) -> str:
    if row.planned:
        return f"in {row.layer}: {row.why}"
    if row.density is None or row.cut is None:
        return f"left out: {row.why}"
    return f"left out of {row.layer}: {row.why}, {row.density:.2f} s a MB; the cut lies at {row.cut:.2f}"


def print_reports(reports: Sequence[LayerReport], output: Output) -> None:
    """Print what was cooked by layer, what it weighs and saves, and what could not be cooked, with the reason."""
    if not reports:
        return
    figures = ("units", "dropped", "cooked in s", "unpacked MB", "budget MB", "pulled MB", "saves s", "saves s/MB")
    output.answer_table(
        "Cooked",
        ("layer", *figures),
        [*(_cooked_row(report) for report in reports), *([_cooked_total(reports)] if len(reports) > 1 else [])],
        right=figures,
    )
    dropped = {
        (report.layer, row.label.partition(" ")[0], _brief(row.reason)): None
        for report in reports
        for row in report.dropped
    }
    if dropped:
        output.answer_table(
            "Could not be cooked, with everything above (--json has the whole reasons)",
            ("layer", "crate", "why"),
            list(dropped),
        )


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_CRATES
    return ", ".join(names[:_MOST_CRATES]) + (f" and {more} more" if more > 0 else "")


def _cooked_row(report: LayerReport) -> tuple[object, ...]:
    return (
        report.layer,
        len(report.cooked),
        len(report.dropped),
        report.seconds,
        f"{report.weight.bytes / 1e6:.1f}",
        "-" if report.budget_bytes is None else _megabytes(report.budget_bytes),
        "-" if report.pulled_bytes is None else f"{report.pulled_bytes / 1e6:.1f}",
        report.saved_seconds,
        "-" if report.saved_per_megabyte is None else f"{report.saved_per_megabyte:.1f}",
    )


def _cooked_total(reports: Sequence[LayerReport]) -> tuple[object, ...]:
    pulled = [report.pulled_bytes for report in reports if report.pulled_bytes is not None]
    transferred = sum(pulled) / 1e6
    saved = sum(report.saved_seconds for report in reports)
    known = len(pulled) == len(reports)
    return (
        "all",
        sum(len(report.cooked) for report in reports),
        sum(len(report.dropped) for report in reports),
        round(sum(report.seconds for report in reports), 1),
        f"{sum(report.weight.bytes for report in reports) / 1e6:.1f}",
        "-",
        f"{transferred:.1f}" if known else "-",
        round(saved, 1),
        f"{saved / transferred:.1f}" if known and transferred else "-",
    )


def print_dry_run(dry: DryRun, output: Output, *, as_json: bool) -> None:
    """Print the commands of a build that is not done, and the bake file that they read."""
    if as_json:
        output.answer_json({"commands": [list(command) for command in dry.commands], "bake_file": dry.bake_file})
        return
    if dry.bake_file is not None:
        output.answer(canonical_json(dry.bake_file, depth=9).rstrip())
    for command in dry.commands:
        output.answer(shlex.join(command))


def print_pushed(pushed: Sequence[PushedLayer], output: Output) -> None:
    """Print what a push left in the registry."""
    output.answer_table(
        "Pushed",
        ("layer", "index", "platforms", "tags", "signed"),
        [
            (
                row.layer if row.changed else f"{row.layer} (was there)",
                row.index[:19],
                ", ".join(row.images),
                ", ".join((*row.moving, *row.immutable)),
                "yes" if row.signed else "no",
            )
            for row in pushed
        ],
    )


def print_pruned(pruned: Pruned, output: Output) -> None:
    """Print what a prune took out of the registry, or would."""
    goes, stays = pruned.judgement.pushes(going=True), pruned.judgement.pushes(going=False)
    output.answer_table(
        f"{'Would be pruned' if pruned.dry_run else 'Pruned'}: {pruned.repository}",
        ("tags", "with", "because", "MB"),
        [
            (
                _tags(row),
                _parts(parts),
                row.reason,
                _megabytes(sum(pruned.freed[each.digest] for each in (row, *parts))),
            )
            for row, parts in goes.items()
        ],
        right=("MB",),
    )
    output.answer_table(
        "Stays", ("tags", "with", "because"), [(_tags(row), _parts(parts), row.reason) for row, parts in stays.items()]
    )
    output.answer(
        f"{'Would delete' if pruned.dry_run else 'Deleted'} {len(pruned.judgement.goes)} manifests, with "
        f"{_megabytes(sum(pruned.freed.values()))} MB that nothing else needs. The "
        "registry makes the room when it collects its garbage."
    )


def print_proof(proof: Proof, output: Output) -> None:
    """Print checks, repositories and misses."""
    output.answer_table(
        f"Checks of {proof.target}",
        ("check", "result", "detail"),
        [(check.name, "ok" if check.ok else "FAILED", check.detail) for check in proof.checks],
    )
    for check in proof.checks:
        if check.findings:
            output.answer_table(f"{check.name}: the first findings", ("path",), [(path,) for path in check.findings])
    print_builds(proof, output)
    misses = [(repo.path, miss.unit, ", ".join(miss.features)) for repo in proof.repos for miss in repo.misses]
    if misses:
        output.answer_table(
            f"Misses ({min(_MOST_ROWS, len(misses))} of {len(misses)}; --json has all)",
            ("workspace", "unit", "features"),
            misses[:_MOST_ROWS],
        )


def print_builds(proof: Proof, output: Output) -> None:
    """Print one row a repository: cold and warm seconds and hits."""
    if not proof.repos:
        return
    has_git = any(repo.git_total for repo in proof.repos)
    output.answer_table(
        "Builds",
        ("repo", "cold s", "warm s", "hits", *(("of git",) if has_git else ()), "problem"),
        [
            (
                repo.path,
                "-" if repo.cold_seconds is None else repo.cold_seconds,
                repo.seconds,
                # Of a build that failed before cargo told of any unit, there is no share.
                "-" if repo.problem and not repo.total else _share(repo.fresh, repo.total),
                *((_share(repo.git_fresh, repo.git_total) if repo.git_total else "-",) if has_git else ()),
                repo.problem,
            )
            for repo in proof.repos
        ],
        right=("cold s", "warm s", "hits", "of git"),
    )


def print_second_builds(result: SecondBuilds, output: Output) -> None:
    """Print one row a build: seconds, which steps were cached, what cargo compiled; then what is claimed of caching."""
    output.answer_table(
        f"{result.project} on {result.image}, beside {result.base}",
        ("Dockerfile", "change", "s", "steps cached", "dependencies compiled", "reused", "problem"),
        [
            (
                build.dockerfile,
                build.change.value,
                build.seconds,
                f"{sum(step.cached for step in build.steps)}/{len(build.steps)}",
                len(build.compiled),
                "-" if (reuse := result.reuse(build)) is None else _percent(reuse),
                _brief(build.problem),
            )
            for build in result.builds
        ],
        right=("s", "steps cached", "dependencies compiled", "reused"),
    )
    claims = [(name, result.claims(name)) for name in result.dockerfiles]
    output.answer_table(
        "What guides to caching in Docker claim",
        ("Dockerfile", *claims[0][1]),
        [
            (name, *("-" if holds is None else "yes" if holds else "no" for holds in row.values()))
            for name, row in claims
        ],
    )
    for change, moved in result.bumped.items():
        output.say(f"{change}: {', '.join(moved)}")
    failed = [build for build in result.builds if build.problem]
    for build in failed:
        output.warn(f"{build.dockerfile}, {build.change}: {build.problem}")


def _brief(reason: str) -> str:
    """Return the head of a failure, and the lines in which build scripts say what they miss."""
    head, *rest = reason.splitlines()
    _, _, said = "\n".join(rest).partition("--- stderr")
    lines = [line.strip() for line in (said or "\n".join(rest)).splitlines() if line.strip()]
    return "; ".join([head.removeprefix("error: "), *lines[:3]])[:_MOST_REASON]


def _counted(counts: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in counts[:_MOST_VERSIONS])
    more = len(counts) - _MOST_VERSIONS
    return f"{shown}, {more} more" if more > 0 else shown


def _share(part: int, whole: int) -> str:
    # Rounded down: 99.9 % must not read as all of them.
    return f"{part}/{whole} ({part * 100 // whole if whole else 100} %)"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f}"


_LEAST_PERCENT = 0.001


def _percent(share: float) -> str:
    if 0 < share * 100 < _LEAST_PERCENT:
        # Rounding of a solver, which nobody wants to read as 4.1e-06.
        return f"{_LEAST_PERCENT} %"
    return f"{share * 100:.2g} %"


def _tags(row: Verdict) -> str:
    """Return the tags of an image, those that are made of a whole digest cut short."""
    return ", ".join(re.sub(r"^(sha256-[0-9a-f]{12})[0-9a-f]{52}", r"\1…", tag) for tag in row.tags)


def _parts(parts: Sequence[Verdict]) -> str:
    """Return how many images of platforms, and how much that is attached, go or stay with a push."""
    attached = sum(row.attached for row in parts)
    counted = [(len(parts) - attached, "image"), (attached, "attachment")]
    return ", ".join(f"{number} {what}{'s'[: number != 1]}" for number, what in counted if number)
