"""From the options before the command and the configuration to what every stage needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from factory.config.cells import chosen_cells
from factory.config.load import Configuration, SourceKind, load_configuration
from factory.errors import ConfigurationError
from factory.pipeline.run import Run
from factory.platforms import Platform, machine_platform

if TYPE_CHECKING:
    import typer

    from factory.cli.app import Globals


def run_of(context: typer.Context) -> Run:
    """Return what every stage needs, from the options before the command and the configuration.

    Of a matrix it is the first cell, whose images have the common tags, unless `--cell` names another; of several
    platforms it is this machine's, or the first where that is not among them, unless `--platform` names one.
    """
    first, *others = runs_of(context)
    same_cell = [run for run in others if run.cell == first.cell]
    return next((run for run in (first, *same_cell) if run.platform is machine_platform()), first)


def runs_of(context: typer.Context, *, single: str = "") -> tuple[Run, ...]:
    """Return a run for each cell of the matrix and each platform, or for the chosen ones; the platforms of a cell
    follow each other.

    `single` is what the user asked for that only one can give, such as `--json`: then several are a
    `ConfigurationError`.
    """
    common: Globals = context.obj
    configuration = load_configuration(common.config, environ=os.environ, start=Path.cwd())
    for warning in configuration.warnings:
        common.output.detail(f"warning: {warning}")
    common.output.detail(f"configuration: {configuration.file or 'the shipped defaults'}")
    cells = chosen_cells(configuration.settings, common.cell)
    platforms = _platforms(configuration)
    chosen = _chosen_platforms(platforms, common.platform)
    if single and len(cells) > 1:
        raise ConfigurationError(
            f"{single} is for one cell, and the matrix has {len(cells)}",
            advice=f"Put --cell before the command: {', '.join(cell.name for cell in cells)}.",
        )
    if single and len(chosen) > 1:
        raise ConfigurationError(
            f"{single} is for one platform, and `platforms` lists {len(chosen)}",
            advice=f"Put --platform before the command: {', '.join(map(str, chosen))}.",
        )
    return tuple(
        Run(
            settings=cell.settings.of_platform(platform),
            cell=cell.name,
            output=common.output,
            sources=_sources(configuration),
            builds=_builds(configuration),
            platforms=platforms,
            platform=platform,
        )
        for cell in cells
        for platform in chosen
    )


def _platforms(configuration: Configuration) -> tuple[Platform, ...]:
    """Return the platforms that somebody chose: the default is a name for an example, not a demand."""
    chosen = configuration.sources["platforms"].kind is not SourceKind.DEFAULT
    return configuration.settings.platforms if chosen else ()


def _chosen_platforms(platforms: tuple[Platform, ...], named: Platform | None) -> tuple[Platform | None, ...]:
    """Return the platforms to run for: `None` for this machine's own, where nobody chose any."""
    if named is None:
        return platforms or (None,)
    if platforms and named not in platforms:
        raise ConfigurationError(
            f"--platform {named}: `platforms` lists {', '.join(platforms)}",
            advice="Name one of them, or add it to registry-config.yaml.",
        )
    return (named,)


def _builds(configuration: Configuration) -> dict[str, float]:
    """Return how often those sources are built of which the configuration says it."""
    rows = zip(_sources(configuration), configuration.settings.sources, strict=True)
    return {text: row.builds for text, row in rows if row.builds is not None}


def _sources(configuration: Configuration) -> tuple[str, ...]:
    """Return the configured sources as the command line would name them; paths are relative to the file."""
    return tuple(
        f"{source.git}#{source.ref}" if source.ref else source.git or str(configuration.folder / (source.path or ""))
        for source in configuration.settings.sources
    )
