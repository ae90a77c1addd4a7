"""The Docker backend: cooks a plan into a chain of images, one layer after the other, with `docker buildx bake`."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.base import apt_settings
from factory.cargo.ask_index import write_questions
from factory.cargo.events import BuildEvents, parse_events
from factory.cook.bake_file import allowed_paths, bake_definition, secret_files, uncached_definition
from factory.cook.budgets import over_budget
from factory.cook.build_cache import unusable
from factory.cook.fetch_secrets import secret_variables
from factory.cook.progress import crate_counter, crates_of
from factory.cook.report import LayerReport, contents, contract, report_layer, require_cooked
from factory.cook.sizes import read_listing, weight
from factory.cook.tools import wanted_tools
from factory.cook.warm_list import warm_list
from factory.costs.log import read_log
from factory.costs.record import observe_all
from factory.engine import Engine, bake, bake_command
from factory.errors import BuildFailedError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.files import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from factory.cook.image_build import ImageBuild
    from factory.costs.observe import Observation
    from factory.model import UnitKey
    from factory.output import Output
    from factory.planning.plan import PlannedLayer
    from factory.planning.recipe import Recipe

LOG_HEADING = "==== factory recipe "
"""How a line of `errors.log` begins that names the recipe of the lines under it."""


def build_images(build: ImageBuild, *, engine: Engine, output: Output) -> tuple[LayerReport, ...]:
    """Cook every layer, then load the images into the engine; return what came out.

    No tag moves before all layers are cooked and within their budgets: of a layer that is over budget the report says
    so, and it is the last one. Raises `EnvironmentFaultError` when another build of the same plan is under way.
    """
    if problem := unusable(build.settings.build_cache):
        output.warn(problem)
    with exclusive(build.folder.with_name(f"{build.folder.name}.lock"), using=build.folder):
        _write_inputs(build)
        _build_tools(build, engine, output)
        reports = _cook_layers(build, engine, output)
        if reports and reports[-1].over_budget:
            return reports
        for layer in build.plan.layers:
            _bake(build, layer.name, reports, engine, output, on_line=output.detail)
            output.say(f"loaded {', '.join(build.tags(layer.name))}")
        made = tuple(
            replace(report, images=build.tags(layer.name), pulled_bytes=_pulled(build, layer, engine, output))
            for layer, report in zip(build.plan.layers, reports, strict=True)
        )
        return (*made, *(_share(build, layer, engine, output) for layer in build.shared))


def _share(build: ImageBuild, layer: str, engine: Engine, output: Output) -> LayerReport:
    """Give the image below a layer that adds nothing the layer's names too; there is nothing to cook, or to pull."""
    below = build.shared[layer]
    for name in build.tags(layer):
        engine.tag(build.tags(below)[0], name)
    output.say(f"{layer}: nothing is planned for it alone, so {', '.join(build.tags(layer))} is the image of {below}")
    return LayerReport(layer=layer, cooked=(), dropped=(), seconds=0.0, images=build.tags(layer), pulled_bytes=0)


def build_uncached(
    build: ImageBuild,
    layers: Sequence[str],
    files: Mapping[str, Mapping[str, str]],
    *,
    tag: str,
    labels: Mapping[str, str],
    engine: Engine,
    output: Output,
) -> None:
    """Build the last of `layers`, each FROM the one before, under one tag, without using or leaving anything cached.

    `files` are those that each layer brings, by layer and name, and `labels` those of the image: both say what was
    cooked, which is not known beforehand when everything happens in one go.
    """
    with exclusive(build.folder.with_name(f"{build.folder.name}.lock"), using=build.folder):
        _write_inputs(build)
        for layer, brought in files.items():
            for name, text in brought.items():
                write_text(build.folder / "contents" / layer / name, text)
        write_json(
            build.bake_file,
            uncached_definition(build, layers[-1], host_network=engine.needs_host_network, tag=tag, labels=labels),
        )
        timeout = build.settings.limits.cook_timeout * len(layers)
        crates = crates_of(recipe for layer in layers for recipe in build.plan.recipes_of(layer))
        with output.progress("cooking again", len(crates)) as advance:
            bake(
                build.bake_file,
                layers[-1],
                engine=engine,
                folders=allowed_paths(build),
                timeout=timeout,
                on_line=crate_counter(crates, advance),
                on_cache_fault=output.warn,
                environment=secret_variables(build.fetching),
            )
        shutil.rmtree(build.folder)


def build_commands(build: ImageBuild, engine: Engine) -> tuple[tuple[str, ...], ...]:
    """Return the commands that `build_images` runs, in order."""
    tools = [f"tool-{tool}" for tool in wanted_tools(build.settings.tools)]
    names = [layer.name for layer in build.plan.layers]
    layers = [*(f"{name}-report" for name in names), *names]
    return tuple(
        bake_command(build.bake_file, target, engine=engine, folders=allowed_paths(build))
        for target in (*tools, *layers)
    )


def _write_inputs(build: ImageBuild) -> None:
    if build.folder.exists():
        shutil.rmtree(build.folder)
    for layer in build.plan.layers:
        recipes = build.plan.recipes_of(layer.name)
        folder = build.folder / "recipes" / layer.name
        for recipe in recipes:
            recipe.write(folder / recipe.name, configured=build.plan.contract.rustflags)
        write_text(folder / "recipes.list", "".join(f"{recipe.name}\n" for recipe in recipes))
        write_text(folder / "locked.list", build.plan.locked_list([layer.name]))
        if build.settings.limits.jobs is not None:
            # Not as a build argument, which would be in the history of the image.
            write_text(folder / "jobs", f"{build.settings.limits.jobs}\n")
        if asked := build.plan.to_ask(layer.name):
            write_questions(asked, folder / "questions")
    if "apt" in secret_files(build):
        write_text(build.folder / "apt.conf", apt_settings())


def _build_tools(build: ImageBuild, engine: Engine, output: Output) -> None:
    tools = wanted_tools(build.settings.tools)
    with output.progress("tools", len(tools)) as advance:
        for tool, version in tools.items():
            _bake(build, f"tool-{tool}", (), engine, output, on_line=output.detail)
            advance(f"{tool} {version}")


def _cook_layers(build: ImageBuild, engine: Engine, output: Output) -> tuple[LayerReport, ...]:
    """Cook the layers one after the other, until one breaks a budget."""
    reports: list[LayerReport] = []
    total = build.settings.budget.total
    below: Mapping[str, Mapping[str, int]] = {}
    for layer in build.plan.layers:
        report = _cook_layer(build, layer, tuple(reports), engine, output)
        files = _files(build, layer.name)
        own = weight(files, below.get(layer.parent or "", {}), build.plan.crates)
        below = {**below, layer.name: files}
        budget = None if layer.budget_bytes is None else build.settings.budget.whole(layer.budget_bytes)
        reports.append(replace(report, weight=own, budget_bytes=budget))
        reports[-1] = replace(reports[-1], over_budget=over_budget(reports, total=total))
        if reports[-1].over_budget:
            break
        _write_contents(build, reports[-1])
    return tuple(reports)


def _write_contents(build: ImageBuild, report: LayerReport) -> None:
    share = build.folder / "contents" / report.layer
    write_json(share / "contents.json", contents(build.plan, report))
    write_json(share / "contract.json", contract(build.plan, report.layer))
    write_text(share / "warm.list", warm_list(build.plan, report.layer, report.cooked))


def _cook_layer(
    build: ImageBuild, layer: PlannedLayer, below: tuple[LayerReport, ...], engine: Engine, output: Output
) -> LayerReport:
    started = time.monotonic()
    recipes = build.plan.recipes_of(layer.name)
    crates = crates_of(recipes)
    with output.progress(f"{layer.name}: cooking", len(crates)) as advance:
        log = _bake(build, f"{layer.name}-report", below, engine, output, on_line=crate_counter(crates, advance))
    events = _events(build, layer.name)
    report = report_layer(
        build.plan,
        layer.name,
        [(recipe, events[recipe.name]) for recipe in recipes],
        seconds=time.monotonic() - started,
        suite=build.settings.base.suite,
    )
    return replace(report, observed=_observed(build, recipes, log, output)) if build.settings.costs.record else report


def _observed(build: ImageBuild, recipes: Sequence[Recipe], log: str, output: Output) -> Mapping[UnitKey, Observation]:
    """Return what the cook of a layer measured: nothing where its step came from the build cache."""
    told = read_log(log)
    if told.damaged:
        output.warn(f"the engine clipped its log: what {', '.join(told.damaged)} took is not recorded")
    units = {key: planned.unit for key, planned in build.plan.units.items()}
    cooks = [(recipe.keys, told.cooks[recipe.name]) for recipe in recipes if recipe.name in told.cooks]
    return observe_all(units, cooks, told.sizes)


def _bake(
    build: ImageBuild,
    target: str,
    reports: tuple[LayerReport, ...],
    engine: Engine,
    output: Output,
    *,
    on_line: Callable[[str], None],
) -> str:
    write_json(build.bake_file, bake_definition(build, host_network=engine.needs_host_network, reports=reports))
    return bake(
        build.bake_file,
        target,
        engine=engine,
        folders=allowed_paths(build),
        timeout=build.settings.limits.cook_timeout,
        on_line=on_line,
        on_cache_fault=output.warn,
        environment=secret_variables(build.fetching),
    )


def _files(build: ImageBuild, layer: str) -> Mapping[str, int]:
    path = build.folder / "reports" / layer / "files.list"
    try:
        return read_listing(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildFailedError(f"layer {layer}: the report lacks a list of its files: {error}") from error


def _pulled(build: ImageBuild, layer: PlannedLayer, engine: Engine, output: Output) -> int | None:
    """Return what a pull of a layer transfers beyond that of the image below; `None` where the engine does not say."""
    below = build.settings.base_image if layer.parent is None else build.tags(layer.parent)[0]
    try:
        if layer.parent is None:
            # A build takes a base from its registry without making it an image of the engine.
            engine.require_image(below, build.platform)
        sizes = [engine.compressed_bytes(name, build.platform) for name in (build.tags(layer.name)[0], below)]
    except EnvironmentFaultError as error:
        output.warn(f"layer {layer.name}: what a pull transfers is not known: {error.what}")
        return None
    return None if sizes[0] is None or sizes[1] is None else sizes[0] - sizes[1]


def _events(build: ImageBuild, layer: str) -> Mapping[str, BuildEvents]:
    """Split the layer's `cook.jsonl` by recipe; raise `BuildFailedError` where cargo refused one of them."""
    folder = build.folder / "reports" / layer / layer
    try:
        logs = _logs(folder / "errors.log")
        told = (folder / "cook.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BuildFailedError(f"layer {layer}: the report lacks what cargo said: {error}") from error
    events: dict[str, BuildEvents] = {}
    lines: list[str] = []
    for line in told:
        if line.startswith('{"reason":"factory-recipe",'):
            lines = []
        elif line.startswith('{"reason":"factory-recipe-finished"'):
            end = json.loads(line)
            log = logs.get(end["name"], "")
            events[end["name"]] = parse_events("\n".join(lines), log)
            require_cooked(f"{layer}: {end['name']}", events[end["name"]], exit_code=end["exit"], log=log)
        else:
            lines.append(line)
    missing = {recipe.name for recipe in build.plan.recipes_of(layer)} - events.keys()
    if missing:
        raise BuildFailedError(f"layer {layer}: the report lacks {', '.join(sorted(missing))}")
    return events


def _logs(path: Path) -> Mapping[str, str]:
    """Split `errors.log`, where it is, into what each failed recipe's cargo said."""
    logs: dict[str, str] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.startswith(LOG_HEADING):
            name = line.removeprefix(LOG_HEADING)
        else:
            logs[name] = f"{logs.get(name, '')}{line}\n"
    return logs
