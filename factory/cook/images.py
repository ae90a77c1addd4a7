"""The Docker backend: cooks a plan into a chain of images, one layer after the other, with `docker buildx bake`."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.base import apt_settings
from factory.cargo.ask_index import write_questions
from factory.cargo.events import BuildEvents, parse_events
from factory.cargo.fetching import Fetching
from factory.cargo.variants import Variant
from factory.cook.budgets import over_budget
from factory.cook.build_cache import cache_folders, cache_name, cook_cache, image_cache, unusable
from factory.cook.fetch_secrets import VARIABLES, secret_ids, secret_variables
from factory.cook.progress import crate_counter, crates_of
from factory.cook.report import LayerReport, contents, contract, report_layer, require_cooked
from factory.cook.sizes import read_listing, weight
from factory.cook.tools import tool_targets, wanted_tools
from factory.cook.warm_list import warm_list
from factory.costs.log import read_log
from factory.costs.record import observe_all
from factory.engine import Engine, bake, bake_command, certificates
from factory.epoch import DEFAULT_EPOCH, build_date, chosen_epoch
from factory.errors import BuildFailedError, ConfigurationError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.files import digest, write_json, write_text
from factory.labels import Label
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from factory.config.model import ImageSettings, Settings
    from factory.costs.observe import Observation
    from factory.model import UnitKey
    from factory.output import Output
    from factory.planning.plan import Plan, PlannedLayer
    from factory.planning.recipe import Recipe
    from factory.platforms import Platform

LOG_HEADING = "==== factory recipe "
"""How a line of `errors.log` begins that names the recipe of the lines under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """One run of the backend: what is built, and the directory with its bake file, recipes and reports.

    `plan` has the layers that are images of their own, `shared` the others, with those whose images they are. `epoch`
    is the time of all files in seconds since 1970, `date` the day of the build (YYYYMMDD, UTC) for tags.
    """

    plan: Plan
    settings: Settings
    folder: Path
    epoch: int
    date: str
    shared: Mapping[str, str] = field(default_factory=dict)
    base_digest: str = ""
    """Of the base image, `sha256:…`; empty where no registry knows it."""
    fetching: Fetching = field(default_factory=Fetching)
    platform: Platform | None = None
    """What it is built for; `None` for the builder's own."""
    ending: str = ""
    """What the tags in the engine end in: `-arm64`, where images of several platforms lie side by side."""
    cell: str = ""
    """The row of the matrix that the settings are of; empty where there is no matrix."""

    @property
    def bake_file(self) -> Path:
        """The bake file."""
        return self.folder / "docker-bake.json"

    def tags(self, layer: str) -> tuple[str, ...]:
        """Return the full names of a layer's image."""
        image, plan = self.settings.image, self.plan.layer_digest(self.shared.get(layer, layer))[:12]
        tags = image.tags_of(layer=layer, rust=self.settings.toolchain, date=self.date, plan=plan)
        return tuple(f"{image.repository}:{tag}{self.ending}" for tag in tags)


def image_build(
    plan: Plan,
    settings: Settings,
    folder: Path,
    *,
    fetching: Fetching | None = None,
    base_digest: str = "",
    platform: Platform | None = None,
    ending: str = "",
    cell: str = "",
) -> ImageBuild:
    """Return the build of a plan; SOURCE_DATE_EPOCH, where it is set, gives its day and the instant of its files.

    Raises `ConfigurationError` for a SOURCE_DATE_EPOCH that is none, and where the configuration has other rustflags
    or another toolchain than the plan, or the plan is for another platform.
    """
    if tuple(settings.contract.rustflags) != plan.contract.rustflags:
        raise ConfigurationError(
            f"the plan was made for `contract.rustflags` {list(plan.contract.rustflags)}, "
            f"and the configuration has {list(settings.contract.rustflags)}",
            advice="Run `factory analyze` and `factory plan` again.",
        )
    planned = plan.contract.toolchain.version
    if planned != settings.toolchain:
        raise ConfigurationError(
            f"the plan was made for rustc {planned}, and the configuration has `toolchain` {settings.toolchain}",
            advice="Name the plan of this toolchain by --plan, or run `factory analyze` and `factory plan` again.",
        )
    if platform is not None:
        require_planned_for(plan, platform)
    chosen = chosen_epoch()
    return ImageBuild(
        plan=plan.of_images(),
        shared=plan.shared_images,
        settings=settings,
        folder=folder,
        epoch=DEFAULT_EPOCH if chosen is None else chosen,
        date=build_date(),
        base_digest=base_digest,
        fetching=fetching or Fetching(),
        platform=platform,
        ending=ending,
        cell=cell,
    )


def require_planned_for(plan: Plan, platform: Platform) -> None:
    """Raise `ConfigurationError` where a plan has the units of another platform."""
    if plan.contract.toolchain.host != platform.rust_target:
        raise ConfigurationError(
            f"the plan was made for {plan.contract.toolchain.host}, and {platform} is built",
            advice=f"Each platform has units of its own: `factory --platform {platform} analyze`, then `plan`.",
        )


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


def rebuild(
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
        targets = bake_definition(build, host_network=engine.needs_host_network)["target"]
        reports = {f"{layer.name}-report" for layer in build.plan.layers}
        chosen = {name: _uncached(target) for name, target in targets.items() if name not in reports}
        chosen[layers[-1]] |= {"tags": [tag], "labels": dict(labels)}
        write_json(build.bake_file, {"target": chosen})
        timeout = build.settings.limits.cook_timeout * len(layers)
        crates = crates_of(recipe for layer in layers for recipe in build.plan.recipes_of(layer))
        with output.progress("cooking again", len(crates)) as advance:
            bake(
                build.bake_file,
                layers[-1],
                engine=engine,
                folders=_folders(build),
                timeout=timeout,
                on_line=crate_counter(crates, advance),
                on_cache_fault=output.warn,
                environment=secret_variables(build.fetching),
            )
        shutil.rmtree(build.folder)


def _uncached(target: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in target.items() if not key.startswith("cache-")} | {"no-cache": True}


def build_commands(build: ImageBuild, engine: Engine) -> tuple[tuple[str, ...], ...]:
    """Return the commands that `build_images` runs, in order."""
    tools = [f"tool-{tool}" for tool in wanted_tools(build.settings.tools)]
    names = [layer.name for layer in build.plan.layers]
    layers = [*(f"{name}-report" for name in names), *names]
    return tuple(
        bake_command(build.bake_file, target, engine=engine, folders=_folders(build)) for target in (*tools, *layers)
    )


def bake_definition(build: ImageBuild, *, host_network: bool, reports: Sequence[LayerReport] = ()) -> dict[str, Any]:
    """Return the bake file: for each layer one target that exports cargo's report, and one that is the image.

    With tools, each has a target too, and a layer one more: the image without them, which its children stand on.
    `reports` are those of the layers that have been cooked: they say how many units an image holds.
    """
    settings = build.settings
    tools = wanted_tools(settings.tools)
    targets = _tool_targets(build, tools, host_network=host_network)
    for layer in build.plan.layers:
        common = _common_target(build, layer, host_network=host_network)
        report = f"type=local,dest={build.folder / 'reports' / layer.name}"
        output = ",".join(("type=docker", *compression(settings.image)))
        cache = _cache(build, layer.name)
        targets[f"{layer.name}-report"] = common | {"target": "report", "output": [report]} | cache
        contexts = common["contexts"] | {"contents": str(build.folder / "contents" / layer.name)}
        bare = common | {"target": "layer", "contexts": contexts, "labels": _labels(build, layer, reports)}
        image = {"tags": list(build.tags(layer.name)), "output": [output]} | image_cache(settings)
        targets[layer.name] = bare | image
        if tools:
            targets[f"{layer.name}-bare"] = bare
            targets[layer.name] |= {
                "target": "equipped",
                "contexts": contexts | {"tools": f"target:tool-{list(tools)[-1]}"},
            }
    return {"group": {"default": {"targets": [layer.name for layer in build.plan.layers]}}, "target": targets}


def compression(image: ImageSettings) -> tuple[str, ...]:
    """Return what an output of BuildKit is told, so that new layers are compressed as the settings say.

    Nothing for gzip at its own level, which is BuildKit's default. Layers that are there already stay as they are:
    those of the base image would no longer be the ones that everybody has.
    """
    if image.compression == "gzip" and image.compression_level is None:
        return ()
    level = () if image.compression_level is None else (f"compression-level={image.compression_level}",)
    return (f"compression={image.compression}", *level, "oci-mediatypes=true")


def _common_target(build: ImageBuild, layer: PlannedLayer, *, host_network: bool) -> dict[str, Any]:
    settings = build.settings
    parent = f"docker-image://{settings.base_image}"
    if layer.parent is not None:
        parent = f"target:{layer.parent}{'-bare' if wanted_tools(settings.tools) else ''}"
    target: dict[str, Any] = {
        "context": str(_dockerfiles()),
        "dockerfile": "layer.Dockerfile",
        "contexts": {"parent": parent, "recipes": str(build.folder / "recipes" / layer.name)},
        "args": {
            "START": "contract" if layer.parent is None else "parent",
            **_package_arguments(build, layer),
            "LAYER": layer.name,
            "RUNNER_NAME": settings.user.name,
            "RUNNER_UID": str(settings.user.uid),
            "RUNNER_GID": str(settings.user.gid),
            "CARGO_HOME": build.plan.contract.cargo_home,
            "BUILD_DIR": build.plan.contract.build_dir,
            "LAYOUT": build.plan.contract.layout.value,
            **_targets(build.plan),
            "RUSTFLAGS_TOML": json.dumps(list(build.plan.contract.rustflags)),
            "RUSTC_VERBOSE": build.plan.contract.toolchain.rustc_verbose.strip(),
            "SOURCE_DATE_EPOCH": str(build.epoch),
        },
    }
    return target | _platforms(build) | _network(build, host_network=host_network)


def _platforms(build: ImageBuild) -> dict[str, Any]:
    return {} if build.platform is None else {"platforms": [str(build.platform)]}


def _cache(build: ImageBuild, layer: str) -> dict[str, list[str]]:
    """Return from where, and to where, what a layer cooks is cached."""
    moving = build.settings.image.moving_tags_of(layer=layer, rust=build.settings.toolchain)
    name = _cache_name(build, layer)
    return cook_cache(build.settings, name, tag=next(iter(moving), ""), compression=compression(build.settings.image))


def _cache_name(build: ImageBuild, what: str) -> str:
    toolchain = build.plan.contract.toolchain
    return cache_name(what, toolchain=toolchain.version, host=toolchain.host, cell=build.cell)


def _network(build: ImageBuild, *, host_network: bool) -> dict[str, Any]:
    """Return what a target's steps with a network need: which network, and secrets."""
    network: dict[str, Any] = {"network": "host"} if host_network else {}
    # What this machine trusts when it downloads, from where and with what; a secret leaves no trace in the image.
    secrets = [f"id={name},src={path}" for name, path in _secrets(build).items()]
    secrets += [f"id={name},env={VARIABLES[name]}" for name in secret_ids(build.fetching)]
    return network | ({"secret": secrets} if secrets else {})


def _tool_targets(build: ImageBuild, tools: Mapping[str, str], *, host_network: bool) -> dict[str, Any]:
    common = {"context": str(_dockerfiles()), **_platforms(build), **_network(build, host_network=host_network)}
    targets = tool_targets(tools, common, base=build.settings.base_image, epoch=build.epoch)
    return {name: target | _tool_cache(build, name) for name, target in targets.items()}


def _tool_cache(build: ImageBuild, target: str) -> dict[str, list[str]]:
    return cook_cache(build.settings, _cache_name(build, target), tag="", compression=compression(build.settings.image))


def _targets(plan: Plan) -> dict[str, str]:
    """Return the build arguments that see to the standard libraries of the variants' targets, none without any."""
    variants = [Variant.parse(name) for name in plan.contract.variants]
    targets = sorted({variant.target for variant in variants if variant.target is not None})
    return {"PREPARED": "targets", "TARGETS": " ".join(targets)} if targets else {}


def _package_arguments(build: ImageBuild, layer: PlannedLayer) -> dict[str, str]:
    if not layer.packages or not build.settings.base.install_packages:
        return {}
    return {"COOK_ON": "installed", "PACKAGES": " ".join(layer.packages), "SUITE": build.settings.base.suite}


def _secrets(build: ImageBuild) -> dict[str, Path]:
    """Return the files that the steps with a network get as secrets, by id."""
    trusted, sources = build.fetching.ca_bundle or certificates(), build.settings.base.apt_sources
    secrets = {} if trusted is None else {"ca": trusted}
    if any(_package_arguments(build, layer) for layer in build.plan.layers):
        secrets["apt"] = build.folder / "apt.conf"
        secrets |= {} if sources is None else {"apt-sources": Path(sources).absolute()}
    return secrets


def _labels(build: ImageBuild, layer: PlannedLayer, reports: Sequence[LayerReport]) -> dict[str, str]:
    plan = build.plan
    planned = plan.keys_with_parents(layer.name)
    cooked = planned & {key for report in reports for key in report.cooked}
    known = any(report.layer == layer.name for report in reports)
    tools = ", ".join(f"{name} {version}" for name, version in wanted_tools(build.settings.tools).items())
    return {
        **_origin(build),
        **({Label.TOOLS: tools} if tools else {}),
        "org.opencontainers.image.title": f"Rust builder, layer {layer.name}",
        "org.opencontainers.image.description": (
            f"{len(cooked)} units compiled ahead" if known else f"up to {len(planned)} units compiled ahead"
        ),
        "org.opencontainers.image.created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(build.epoch)),
        "org.opencontainers.image.version": plan.layer_digest(layer.name)[:12],
        Label.BASE_NAME: build.settings.base_image.partition("@")[0],
        Label.LAYER: layer.name,
        Label.PLAN: plan.layer_digest(layer.name),
        Label.SETTINGS: made_by(build.settings),
        Label.RUSTC: plan.contract.toolchain.version,
        Label.CARGO_HOME: plan.contract.cargo_home,
        Label.BUILD_DIR: plan.contract.build_dir,
        Label.LAYOUT: plan.contract.layout.value,
        Label.OWNER: f"{build.settings.user.uid}:{build.settings.user.gid}",
    }


def made_by(settings: Settings) -> str:
    """Return a digest of the settings that decide the bytes of every image, beside the plan and the base image.

    All others decide the plan, or nothing that is in an image. Equal settings give equal digests on every machine.
    """
    base, image = settings.base, settings.image
    return digest(
        {
            "base": settings.base_image.partition("@")[0],
            "packages": [base.install_packages, base.suite],
            "user": settings.user.model_dump(mode="json"),
            "tools": wanted_tools(settings.tools),
            "compression": [image.compression, image.compression_level],
            "origin": [image.source, image.revision],
        }
    )


def _origin(build: ImageBuild) -> dict[str, str]:
    """Return the labels that say what an image was made from, as far as it is known."""
    image = build.settings.image
    known = {
        "org.opencontainers.image.source": image.source,
        "org.opencontainers.image.revision": image.revision,
        Label.BASE_DIGEST: build.base_digest,
    }
    return {name: value for name, value in known.items() if value}


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
    if "apt" in _secrets(build):
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
        folders=_folders(build),
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


def _folders(build: ImageBuild) -> tuple[Path, ...]:
    return (build.folder, _dockerfiles(), *_secrets(build).values(), *cache_folders(build.settings.build_cache))


def _dockerfiles() -> Path:
    return shipped("Dockerfiles")
