"""`factory costs`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.app import JsonOption
from factory.cli.runs import run_of
from factory.costs.estimate import Accuracy, check, fit
from factory.costs.exchange import from_lines, record_to_json, to_lines
from factory.costs.samples import Record
from factory.costs.shipped import shipped_records
from factory.costs.store import open_store, store_url
from factory.errors import ConfigurationError, NothingToDoError
from factory.files import write_text

costs_app = typer.Typer(
    help="What units take and weigh, as measured by the cooks so far.\n\nPlans go by it; see docs/costs.md.",
    no_args_is_help=True,
)

SCHEMA = 1

_MOST_FEATURES = 3

CrateArgument = Annotated[str | None, typer.Argument(help="Only this crate.")]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A file of JSON lines; - for the standard streams.")]


@costs_app.command("show")
def costs_show(
    context: typer.Context,
    crate: CrateArgument = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many units to show, the dearest first.")] = 30,
    json: JsonOption = False,
) -> None:
    """Show what was measured: seconds and bytes of each unit, medians over its cooks.

    Example: factory costs show openssl-sys
    """
    run = run_of(context)
    url = store_url(run.settings.costs.url)
    with open_store(url) as store:
        records = store.records(crate=crate)
    if not records:
        raise NothingToDoError(
            f"nothing was measured{f' of {crate}' if crate else ''} yet: {url.text}",
            advice="`factory build` measures what it cooks; `factory costs import` takes what others measured.",
        )
    if json:
        units = [record_to_json(record) | asdict(record.cost) for record in records]
        run.output.answer_json({"schema": SCHEMA, "units": units})
        return
    dearest = sorted(records, key=lambda record: (-record.cost.seconds, record.traits, record.key))[:top]
    seconds, size = (sum(getattr(record.cost, what) for record in records) for what in ("seconds", "bytes"))
    title = f"{len(records)} measured units: {seconds:.0f} core seconds, {size / 1e6:.0f} MB"
    run.output.answer_table(
        title, ("unit", "what", "opt", "features", "core s", "MB", "cooks"), [_row(one) for one in dearest]
    )
    if len(dearest) < len(records):
        run.output.say(f"the {len(dearest)} dearest; `--top {len(records)}` shows all")


@costs_app.command("export")
def costs_export(context: typer.Context, file: FileArgument = Path("-")) -> None:
    """Write all measurements as JSON lines: sorted, to be compared, kept under version control, imported elsewhere.

    Example: factory costs export costs.jsonl
    """
    run = run_of(context)
    with open_store(store_url(run.settings.costs.url)) as store:
        records = store.records()
    text = to_lines(records)
    if file == Path("-"):
        run.output.answer(text.rstrip("\n"))
        return
    write_text(file, text)
    run.output.say(f"wrote {len(records)} units to {file}; `factory costs import {file}` reads it elsewhere")


@costs_app.command("import")
def costs_import(context: typer.Context, file: FileArgument) -> None:
    """Add measurements that `export` wrote. The order of imports does not matter, nor does doing one twice.

    Example: factory costs import costs.jsonl
    """
    run = run_of(context)
    records = from_lines(_read(file), str(file))
    with open_store(store_url(run.settings.costs.url)) as store:
        before = len(store.records())
        store.add(records)
        after = len(store.records())
    run.output.say(f"{len(records)} units read, {after - before} of them new; {after} are known now")


@costs_app.command("path")
def costs_path(context: typer.Context) -> None:
    """Print where the measurements are kept: a file, or the address of a server.

    Example: ls -l "$(factory costs path)"
    """
    run = run_of(context)
    url = store_url(run.settings.costs.url)
    run.output.answer(url.text if url.file is None else str(url.file))


@costs_app.command("check")
def costs_check(context: typer.Context, json: JsonOption = False) -> None:
    """Show how good the estimates are for units that were never measured.

    Every measured unit is estimated from the others and compared: from other crates only, as for a crate that nobody
    cooked yet, and from all but the same version and features, as after an update.

    Example: factory costs check
    """
    run = run_of(context)
    with open_store(store_url(run.settings.costs.url)) as store:
        estimator = fit([*shipped_records(), *store.records()])
    found = {
        "crates never measured": check(estimator),
        "measured crates, new version or features": check(estimator, unseen_crates=False),
    }
    rows = [
        (case, what, accuracy)
        for case, both in found.items()
        if both is not None
        for what, accuracy in zip(("seconds", "bytes"), both, strict=True)
    ]
    if not rows:
        raise NothingToDoError("nothing was measured yet", advice="`factory build` measures what it cooks.")
    if json:
        checks = [{"case": case, "what": what, **asdict(accuracy)} for case, what, accuracy in rows]
        run.output.answer_json({"schema": SCHEMA, "checks": checks})
        return
    run.output.answer_table(
        "Estimates against measurements",
        ("case", "what", "units", "half within", "9 of 10 within", "share within 2x", "sum"),
        [(case, what, *_accuracy_cells(accuracy)) for case, what, accuracy in rows],
    )


def _row(record: Record) -> tuple[str, ...]:
    traits, cost = record.traits, record.cost
    return (
        f"{traits.crate}@{traits.version}",
        traits.kind.value,
        traits.opt_level,
        _shortened(traits.features),
        f"{cost.seconds:.2f}",
        f"{cost.bytes / 1e6:.2f}",
        str(len(record.samples)),
    )


def _shortened(features: tuple[str, ...]) -> str:
    shown = ", ".join(features[:_MOST_FEATURES])
    return f"{shown} and {len(features) - _MOST_FEATURES} more" if len(features) > _MOST_FEATURES else shown


def _accuracy_cells(accuracy: Accuracy) -> tuple[str, ...]:
    return (
        str(accuracy.units),
        f"{accuracy.median:.2f}x",
        f"{accuracy.nine_in_ten:.2f}x",
        f"{100 * accuracy.share_within_two:.0f} %",
        f"{100 * accuracy.total:.0f} %",
    )


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if file == Path("-") else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"{file}: cannot be read: {why}", advice="Name what `factory costs export` wrote."
        ) from error
