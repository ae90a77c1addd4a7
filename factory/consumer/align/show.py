"""The answer of `factory align` for people: what each step gains, what it leaves and why, and the patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.consumer.align.model import StepName
from factory.consumer.check.show import what

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.consumer.align.model import AlignReport, Change, State, Step, WorkspaceAlignment
    from factory.output import Output

UNPIN = "Change the pin or drop it; --ignore-pin aligns it as far as the pinned compiler can follow."
"""What to do where a toolchain pin bars a repository from what is warm."""
_MOST_LEFT = 8
_MOST_CAUSES = 5


def print_alignment(report: AlignReport, output: Output, *, patch: bool, top: int) -> None:
    """Print the steps of every workspace; with `patch` the whole patch, else only how long it is."""
    for workspace in report.workspaces:
        _print_workspace(workspace, report, output, top=top)
        if patch:
            for step in workspace.steps:
                if step.chosen and step.patch:
                    output.answer(f"# step {step.name}\n{step.patch}")
    if not report.advisories:
        output.say("advisories: not checked (--advisory-db DIR)")


def _print_workspace(workspace: WorkspaceAlignment, report: AlignReport, output: Output, *, top: int) -> None:
    if workspace.problem:
        output.warn(f"{workspace.path}: cannot be aligned: {workspace.problem}")
        return
    image = report.image
    settled = "aligned already" if workspace.is_settled else ""
    rows = [("as it is", *_amounts(workspace.before, image), settled)]
    rows += [
        (
            f"{step.name}{'' if step.chosen else ' (proposed)'}",
            *_amounts(step.after, image),
            f"{_changed(step)}, {_growth(step)}",
        )
        for step in workspace.steps
    ]
    output.answer_table(
        f"{workspace.path}: {report.variant} on {report.warm}, image {image}",
        ("after the step", "units warm", "seconds warm", ""),
        rows,
        right=("units warm", "seconds warm"),
    )
    for step in workspace.steps:
        _print_step(step, output, top=top)
    if workspace.barred:
        output.warn(f"{workspace.path}: {workspace.barred}. {UNPIN}")
        return
    _print_rest(workspace, output)


def _amounts(state: State, image: str) -> tuple[str, str]:
    total, hit = state.total(), state.hit(image)
    units = f"{hit.units}/{total.units} ({hit.percent_of(total, by='units')})"
    return units, f"{hit.seconds:.0f}/{total.seconds:.0f} ({hit.percent_of(total, by='seconds')})"


def _changed(step: Step) -> str:
    lines = [line for line in step.patch.splitlines() if not line.startswith(("+++", "---"))]
    files = step.patch.count("\n+++ ")
    changed = sum(line.startswith(("+", "-")) for line in lines)
    return f"{changed} lines in {files} file{'s' if files > 1 else ''}" if files else "no change"


def _growth(step: Step) -> str:
    before, after = step.before.total().units, step.after.total().units
    return f"graph {(after - before) / before:+.1%}" if before else "graph +0.0%"


def _print_step(step: Step, output: Output, *, top: int) -> None:
    if step.changes:
        _print_rows(f"{step.name} {_verb(step)}", step.changes, output, top=top)
    if step.left:
        _print_rows(f"{step.name} leaves", step.left, output, top=min(top, _MOST_LEFT))
    for note in step.notes:
        output.say(f"{step.name}: {note}")


def _verb(step: Step) -> str:
    if step.chosen:
        return "changes"
    if step.name is not StepName.PROFILE:
        return "would change"
    gained = step.before.missing_seconds - step.after.missing_seconds
    if gained > 0:
        return "would change (--profile writes it)"
    return f"would change, and with this plan {-gained:.1f} s more would have to be compiled"


def _print_rows(title: str, rows: Sequence[Change], output: Output, *, top: int) -> None:
    lines = [f"  {row.subject}{f': {row.what}' if row.what else ''}" for row in rows[:top]]
    if len(rows) > top:
        lines.append(f"  and {len(rows) - top} more: --top {len(rows)}, or --json")
    output.answer("\n".join([f"{title}:", *lines, ""]))


def _print_rest(workspace: WorkspaceAlignment, output: Output) -> None:
    """Say why what still misses does so."""
    misses = () if workspace.after.report is None else workspace.after.report.misses
    if misses:
        lines = [f"  {miss.lost:6.1f} s  {miss.root.cause}: {what(miss.root, miss)}" for miss in misses[:_MOST_CAUSES]]
        if len(misses) > _MOST_CAUSES:
            rest = sum(miss.lost for miss in misses[_MOST_CAUSES:])
            lines.append(f"  {rest:6.1f} s  in {len(misses) - _MOST_CAUSES} more: `factory check` after --apply")
        output.answer("\n".join(["what misses then:", *lines, ""]))
