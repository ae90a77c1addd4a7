"""`factory layers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.app import JsonOption, ProfilesOption
from factory.cli.runs import runs_of
from factory.consumer.recommend import COMPRESSED
from factory.errors import ConfigurationError
from factory.pipeline import artefacts, planning
from factory.planning.propose import proposals_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.output import Output
    from factory.planning.propose import Proposal


def layers(
    context: typer.Context,
    groups: Annotated[
        int | None, typer.Option("--groups", min=1, help="How many groups of repositories get a layer each.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A new directory to write all profiles into; needs --groups.")
    ] = None,
    analysis: Annotated[Path, typer.Option("--analysis", help="The analysis to read.")] = Path("analysis.json"),
    profiles: ProfilesOption = None,
    json: JsonOption = False,
) -> None:
    """Propose a layer for each group of repositories.

    Most units have one user, and on a chain of layers everybody pulls them. Without --groups it compares what is
    pulled with several numbers of groups; --out writes profiles for `factory plan --profiles`.

    Example: factory layers --groups 8 --out profiles
    """
    if out is not None and groups is None:
        raise ConfigurationError("--out needs --groups", advice="Without --out, numbers of groups are compared.")
    (run,) = runs_of(context, single="layers")
    found = planning.propose_layers(run, artefacts.read_analysis(run.file(analysis)), profiles, groups)
    if out is not None:
        planning.write_profiles(run.file(out), profiles, found[-1])
        run.output.say(f"wrote {run.file(out)}: `factory plan --profiles {out}` plans with them")
    if json:
        run.output.answer_json(proposals_to_json(found))
    else:
        _print(found, COMPRESSED[run.settings.image.compression], run.output, one=groups is not None)


def _print(found: Sequence[Proposal], share: float, output: Output, *, one: bool) -> None:
    columns = ("groups", "images", "stored MB", "largest MB", "pulls MB", "saves s", "pulls MB/s saved")
    rows = []
    for row in found:
        pulled = row.pulled * share / 1e6
        price = f"{pulled / row.saved:.1f}" if row.saved else "-"
        sizes = (f"{size / 1e6:.0f}" for size in (row.stored, row.largest))
        rows.append((len(row.added) or "-", len(row.tree.layers), *sizes, f"{pulled:.0f}", f"{row.saved:.1f}", price))
    output.answer_table("A build in the mean, by groups of repositories", columns, rows, right=columns)
    if one:
        output.answer_table(
            "Layers of the groups",
            ("layer", "on", "MB", "repositories"),
            [
                (layer.name, layer.parent, f"{found[-1].sizes[layer.name] / 1e6:.0f}", ", ".join(sorted(layer.repos)))
                for layer in found[-1].added
            ],
            right=("MB",),
        )
