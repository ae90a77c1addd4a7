"""The answer of `factory check` for people: one screen, the dearest cause first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.analysis.remarks import Remark, fold_remarks
from factory.consumer.check.causes import Cause
from factory.consumer.check.settings import turns_lto_on
from factory.model import Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.consumer.check.causes import Root
    from factory.consumer.check.model import Amount, CheckReport, Miss
    from factory.output import Output

_MOST_CRATES = 3
_MOST_SETTINGS = 4
_MOST_FEATURES = 6
_ALIGNED = frozenset({Cause.VERSION, Cause.FEATURES, Cause.CARGO_PROFILE})
"""Causes that `factory align` looks into."""


def print_check(report: CheckReport, output: Output, *, top: int) -> None:
    """Print the forecast of every image, and the first `top` causes with place and remedy."""
    output.answer_table(
        f"Forecast for {report.variant} on {report.warm} (rustc {report.rustc})",
        ("image", "units", "seconds of work", f"wall s on {report.jobs} jobs", ""),
        [
            (
                name,
                _units(report.on(name), report.total),
                _seconds(report.on(name), report.total),
                f"{report.wall_on(name):.0f} (cold {report.wall_cold:.0f})",
                "<- misses below" if name == report.image and report.misses else "",
            )
            for name in report.images
        ],
        right=("units", "seconds of work", f"wall s on {report.jobs} jobs"),
    )
    if len(report.chosen) > 1:
        _print_workspaces(report, output)
    _warn(report, output)
    _print_misses(report, output, top=top)


def what(root: Root, miss: Miss) -> str:
    """Say in one line what differs: the warm value first, then the repository's."""
    match root.cause:
        case Cause.CARGO_PROFILE:
            shown = [f"{s.key} (warm: {s.warm}, here: {s.yours})" for s in miss.settings[:_MOST_SETTINGS]]
            more = len(miss.settings) - _MOST_SETTINGS
            return f"[{root.subject}] {', '.join(shown)}{f' and {more} more' if more > 0 else ''}"
        case Cause.VERSION:
            return f"{root.name} (warm: {root.warm}, locked: {root.yours})"
        case Cause.FEATURES:
            parts = [f"{word}: {_listed(names)}" for word, names in _feature_lists(root) if names]
            side = " for build scripts and macros" if miss.sides == (Side.HOST,) else ""
            return f"{root.subject}{side} ({'; '.join(parts)})"
        case Cause.NOT_PLANNED | Cause.NOT_COOKED:
            return f"{root.detail}: {_first(miss.crates)}"
        case Cause.FOREIGN_SOURCE | Cause.PRIVATE_REGISTRY:
            return f"{root.subject} comes from {root.yours}"
        case Cause.OTHER_IMAGE:
            return f"in the image {root.subject}: {_first(miss.crates)}"
        case Cause.DEPENDENCIES:
            return f"{root.subject} stands on {root.yours or 'other crates'} (warm: {root.warm or 'without'})"
        case _:
            return f"{root.subject} (warm: {root.warm}, yours: {root.yours})"


def _print_workspaces(report: CheckReport, output: Output) -> None:
    rows = [(w.path, w.variants[report.variant]) for w in report.workspaces if report.variant in w.variants]
    output.answer_table(
        f"By workspace, on the image {report.image}",
        ("workspace", "units", "seconds"),
        [(path, _units(check.hit, check.total), _seconds(check.hit, check.total)) for path, check in rows],
        right=("units", "seconds"),
    )


def _warn(report: CheckReport, output: Output) -> None:
    """Warn of what has no forecast, and of forecasts that may not hold."""
    without = [
        Remark(path=w.path, repo=w.repo, skipped=True, text=w.skipped or f"it has no {report.variant}")
        for w in report.skipped
    ]
    doubted = [
        Remark(path=w.path, repo=w.repo, skipped=False, text=remark) for w in report.workspaces for remark in w.remarks
    ]
    rows = fold_remarks((*without, *doubted), all_of_them=output.is_verbose)
    for row in rows:
        output.warn(f"{row.where}: {'no forecast: ' if row.skipped else ''}{row.text}")
    if len(rows) < len(without) + len(doubted):
        output.say("-v warns of each workspace by itself, and --json has all")


def _print_misses(report: CheckReport, output: Output, *, top: int) -> None:
    misses = report.misses
    if not misses:
        output.answer(f"Nothing misses: the first build compiles only what is yours. FROM the image {report.image}.")
        return
    missed = sum(len(check.missed) for check in report.chosen)
    lost = report.total.seconds - report.hit.seconds
    output.answer(
        f"{missed} unit{'s miss' if missed != 1 else ' misses'}, {lost:.1f} s to compile, "
        f"for {len(misses)} reason{'s' if len(misses) > 1 else ''}"
        f"{f'; the first {top}' if len(misses) > top > 0 else ''}:"
    )
    for miss in misses[:top]:
        output.answer(f"\n{miss.lost:7.1f} s  {miss.root.cause.value}: {what(miss.root, miss)}")
        output.answer(f"{'':9}  {miss.place}  {_reach(miss)}")
        output.answer(f"{'':9}  -> {miss.remedy}")
    if len(misses) > top:
        rest = sum(miss.lost for miss in misses[top:])
        output.answer(f"\n{rest:7.1f} s  in {len(misses) - top} more: --top {len(misses)}, or --json")
    alignable = sum(miss.lost for miss in misses if miss.root.cause in _ALIGNED)
    if alignable > 0:
        output.say(
            f"{alignable:.1f} s are for versions, features or cargo profile: `factory align` says what a patch brings"
        )


def _reach(miss: Miss) -> str:
    """Say what misses because of it, and what its mending alone would bring."""
    above = f", under {_first(miss.dependents)}" if miss.dependents else ""
    told = round(miss.alone.seconds, 1) < round(miss.lost, 1) and (miss.alone.units or not turns_lto_on(miss.settings))
    alone = f"; {miss.alone.seconds:.1f} s by itself" if told else ""
    where = f" in {len(miss.workspaces)} workspaces" if len(miss.workspaces) > 1 else ""
    return f"{miss.units} unit{'s' if miss.units != 1 else ''}{where}{above}{alone}"


def _feature_lists(root: Root) -> Sequence[tuple[str, tuple[str, ...]]]:
    return (("missing", root.missing), ("extra", root.extra))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_FEATURES
    return f"{', '.join(names[:_MOST_FEATURES])}{f' and {more} more' if more > 0 else ''}"


def _first(labels: Sequence[str]) -> str:
    more = len(labels) - _MOST_CRATES
    return f"{', '.join(labels[:_MOST_CRATES])}{f' and {more} more' if more > 0 else ''}"


def _units(part: Amount, whole: Amount) -> str:
    return f"{part.units}/{whole.units} ({part.percent_of(whole, by='units')})"


def _seconds(part: Amount, whole: Amount) -> str:
    return f"{part.seconds:.1f}/{whole.seconds:.1f} ({part.percent_of(whole, by='seconds')})"
