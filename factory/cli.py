"""The commands: they parse, call the pipeline and print. Errors become exit codes in `main` and nowhere else."""

from __future__ import annotations

import enum
import os
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from factory import __version__, pipeline, process, tables
from factory import demo as demo_stage
from factory.analysis.model import analysis_to_json
from factory.base import build_base, pin_base
from factory.cargo.toolchain import find_sysroot
from factory.config.load import Configuration, SourceKind, json_schema, load_configuration, show
from factory.cook.report import report_to_json
from factory.errors import BadAnswerError, ConfigurationError, FactoryError, NothingToDoError
from factory.files import cache_directory, clean_cache, write_json
from factory.output import Output
from factory.planning.plan import plan_to_json
from factory.proof.model import proof_to_json

EXIT_OUR_BUG = 70
EXIT_INTERRUPTED = (130, 143)
"""Ctrl-C, and a polite request to end."""

if TYPE_CHECKING:
    from types import FrameType

app = typer.Typer(
    name="factory",
    help="A pre-warmed base-image factory for Rust. Order: analyze, plan, build, verify.",
    no_args_is_help=True,
    # Markup would eat the brackets of `tokio[full]`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Show the configuration, or its schema.", no_args_is_help=True)
cache_app = typer.Typer(
    help="Find or remove the cache.\n\nIt holds what can be made again: resolved workspaces and git sources.",
    no_args_is_help=True,
)
app.add_typer(config_app, name="config")
app.add_typer(cache_app, name="cache")


class Backend(enum.StrEnum):
    """Where recipes are cooked."""

    DOCKER = "docker"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class _Globals:
    """What stands before the command."""

    config: Path | None
    output: Output


PathsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Directories or git URLs (URL#REF picks a branch or tag). Default: `sources` of the configuration."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to stdout instead of tables.")]
PlanOption = Annotated[Path, typer.Option("--plan", envvar="FACTORY_PLAN", help="The plan to read.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, with the exact commands.")]
ProfilesOption = Annotated[
    Path | None,
    typer.Option("--profiles", envvar="FACTORY_PROFILES", help="Directory of layer profiles (*.toml)."),
]


def main() -> int:
    """Run the program and return its exit code: 0, or that of the error (see factory/errors.py)."""
    output = Output()
    process.begin()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app(prog_name="factory")
    except FactoryError as error:
        output.error(str(error))
        if os.environ.get("FACTORY_DEBUG"):
            traceback.print_exc()
        return error.exit_code
    except SystemExit as end:
        return _exit_code(end, output)
    except Exception as bug:  # noqa: BLE001 - the last resort: every other failure is one of ours
        output.error(f"{type(bug).__name__}: {bug}\nThis is a bug in factory. FACTORY_DEBUG=1 shows where it happened.")
        if os.environ.get("FACTORY_DEBUG"):
            traceback.print_exc()
        return EXIT_OUR_BUG
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        Output().answer(f"factory {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="The configuration (default: FACTORY_CONFIG, then registry-config.yaml here or above).",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the answer only.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show commands (-v).")] = 0,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has ended the program
    context.obj = _Globals(config, Output(verbosity=-1 if quiet else verbose))


@app.command()
def analyze(
    context: typer.Context,
    paths: PathsArgument = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the analysis.")] = Path("analysis.json"),
    top: Annotated[int, typer.Option("--top", min=0, help="How many crates to show.")] = 20,
    offline: Annotated[bool, typer.Option("--offline", help="Use only crates that are already downloaded.")] = False,
    json: JsonOption = False,
) -> None:
    """Find what the repositories compile.

    Every workspace with a lockfile is resolved by cargo; nothing of it is executed.

    Example: factory analyze ./repos https://git.example.org/app.git#main
    """
    run = _run(context)
    analysis = pipeline.analyze(run, pipeline.scan(run, paths or run.sources), offline=offline)
    document = analysis_to_json(analysis)
    write_json(out, document)
    run.output.say(f"wrote {out}")
    if json:
        run.output.answer_json(document)
    else:
        tables.print_analysis(analysis, run.output, top=top)
    if not analysis.resolved:
        raise NothingToDoError("no workspace could be resolved", advice="The rows above say why.")


@app.command()
def plan(
    context: typer.Context,
    analysis: Annotated[Path, typer.Option("--analysis", help="The analysis to read.")] = Path("analysis.json"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the plan.")] = Path("plan.json"),
    profiles: ProfilesOption = None,
    json: JsonOption = False,
) -> None:
    """Choose what to cook, and forecast the hits.

    Says for every crate in which layer it is or why it is left out, and for every repository what it will find fresh.

    Example: factory plan --analysis analysis.json --profiles ./profiles
    """
    run = _run(context)
    made = pipeline.plan(run, pipeline.read_analysis(analysis), profiles)
    document = plan_to_json(made)
    write_json(out, document)
    run.output.say(f"wrote {out}")
    if json:
        run.output.answer_json(document)
    else:
        tables.print_plan(made, run.output)


@app.command()
def build(
    context: typer.Context,
    plan: PlanOption = Path("plan.json"),
    backend: Annotated[
        Backend, typer.Option("--backend", help="docker: images. local: a directory; needs only cargo.")
    ] = Backend.DOCKER,
    output: Annotated[Path | None, typer.Option("--output", help="The directory to cook into (local backend).")] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Cook the plan, into images or a directory.

    The images are a chain by default: core, web, db, each FROM the one before. The local backend needs only cargo.

    Example: factory build --backend local --output ./warm
    """
    run = _run(context)
    chosen = pipeline.read_plan(plan)
    if backend is Backend.LOCAL and output is None:
        raise ConfigurationError("the local backend needs --output DIR", advice="Name a new or an empty directory.")
    if backend is Backend.DOCKER and output is not None:
        raise ConfigurationError(
            "--output is for --backend local", advice="Leave it out: images are loaded into Docker."
        )
    folder = None if output is None else output.absolute()
    if dry_run:
        shown = pipeline.dry_run_images(run, chosen) if folder is None else pipeline.dry_run_locally(chosen)
        tables.print_dry_run(shown, run.output, as_json=json)
        return
    reports = pipeline.build_images(run, chosen) if folder is None else pipeline.build_locally(run, chosen, folder)
    if json:
        run.output.answer_json(report_to_json(reports))
    else:
        tables.print_reports(reports, run.output)


@app.command()
def verify(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="An image, or a directory made by the local backend.")],
    repo: Annotated[
        list[str] | None, typer.Option("--repo", help="Repositories to build on it; may be repeated.")
    ] = None,
    min_hit: Annotated[
        float, typer.Option("--min-hit", min=0, max=1, help="Least share of fresh registry units.")
    ] = 0.0,
    skeleton: Annotated[
        bool, typer.Option("--skeleton", help="Build manifests with stub sources, not the real sources.")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Build each repository without the warm units too, for comparison.")
    ] = False,
    variant: Annotated[
        str, typer.Option("--variant", help="The cargo profile to build with, or command:profile.")
    ] = "release",
    json: JsonOption = False,
) -> None:
    """Prove it: build repositories on the result.

    Counts the units that cargo reports fresh, and checks owners, modes, units of other sources and leftovers. Real
    sources are built as they are: their build scripts run. Exit 1 when a check fails, a build fails, or a repository
    has fewer fresh units than --min-hit.

    Example: factory verify org/rust-builder:web --repo ./repos/app
    """
    run = _run(context)
    proof = pipeline.verify(run, target, repo or [], variant=variant, skeleton=skeleton, cold=cold)
    if json:
        run.output.answer_json(proof_to_json(proof, min_hit=min_hit))
    else:
        tables.print_proof(proof, run.output)
    if not proof.ok(min_hit):
        raise BadAnswerError(f"{target} does not pass", advice="See the rows above that say why.")


@app.command()
def base(
    context: typer.Context,
    tag: Annotated[str, typer.Option("--tag", help="Name of the image to make.")] = "rust-warm-factory/base:latest",
    suite: Annotated[
        str | None, typer.Option("--suite", help="Debian suite (default: `base.suite` of the configuration).")
    ] = None,
    debian_rust: Annotated[
        bool, typer.Option("--debian-rust", help="Take the suite's rustc, not this machine's.")
    ] = False,
    ca_bundle: Annotated[Path | None, typer.Option("--ca-bundle", help="Certificates that the image trusts.")] = None,
    pin: Annotated[
        str | None, typer.Option("--pin", help="Instead: print the digest that a tag stands for now.")
    ] = None,
) -> None:
    """Make a base image, where none can be pulled.

    It is made from Debian packages and this machine's Rust toolchain. With --pin, print the digest of an image that
    can be pulled instead.

    Example: factory base --tag registry.example.org/rust-base:1.95.0
    """
    run = _run(context)
    if pin is not None:
        run.output.answer(pin_base(pin))
        return
    toolchain: Path | Literal["debian"] = "debian" if debian_rust else find_sysroot(run.settings.toolchain)
    run.output.answer(
        build_base(
            tag=tag,
            suite=suite or run.settings.base.suite,
            toolchain=toolchain,
            ca_bundle=ca_bundle,
            output=run.output,
        )
    )
    run.output.say(f"to build on it, set `base.image: {tag}` in registry-config.yaml, or FACTORY_BASE_IMAGE={tag}")


@app.command()
def demo(
    context: typer.Context,
    backend: Annotated[
        Backend | None, typer.Option("--backend", help="Default: docker where usable, else local.")
    ] = None,
) -> None:
    """Take sample repositories through every stage.

    They come with the program. At the end stands how long each took to build without and with the warm units.

    Example: factory demo --backend local
    """
    run = _run(context)
    proof = demo_stage.demo(run, use_docker=None if backend is None else backend is Backend.DOCKER)
    tables.print_builds(proof, run.output)
    if not proof.ok(1.0):
        tables.print_proof(proof, run.output)
        raise BadAnswerError("the samples were not all fresh", advice="FACTORY_DEBUG=1 and -v tell more.")


@config_app.command("show")
def config_show(context: typer.Context, json: JsonOption = False) -> None:
    """Show every setting with its source.

    Example: factory config show --json
    """
    common: _Globals = context.obj
    configuration = load_configuration(common.config, environ=os.environ, start=Path.cwd())
    rows = show(configuration)
    if json:
        common.output.answer_json([{"key": key, "value": value, "source": source} for key, value, source in rows])
        return
    common.output.say(f"configuration: {configuration.file or 'the shipped defaults'}")
    common.output.answer_table("", ("key", "value", "source"), rows)


@config_app.command("schema")
def config_schema(context: typer.Context) -> None:
    """Print the JSON schema of registry-config.yaml.

    Example: factory config schema > registry-config.schema.json
    """
    common: _Globals = context.obj
    common.output.answer_json(json_schema())


@cache_app.command("dir")
def cache_dir(context: typer.Context) -> None:
    """Print where the cache is.

    Example: du -sh "$(factory cache dir)"
    """
    common: _Globals = context.obj
    common.output.answer(str(cache_directory()))


@cache_app.command("clean")
def cache_clean(context: typer.Context) -> None:
    """Remove the cache.

    Only a directory that carries the tag of this program is removed. The next run makes it again.

    Example: factory cache clean
    """
    common: _Globals = context.obj
    common.output.say(f"removed {clean_cache()}")


def _run(context: typer.Context) -> pipeline.Run:
    common: _Globals = context.obj
    configuration = load_configuration(common.config, environ=os.environ, start=Path.cwd())
    for warning in configuration.warnings:
        common.output.detail(f"warning: {warning}")
    common.output.detail(f"configuration: {configuration.file or 'the shipped defaults'}")
    return pipeline.Run(
        settings=configuration.settings,
        output=common.output,
        sources=_sources(configuration),
        platforms=_platforms(configuration),
    )


def _platforms(configuration: Configuration) -> tuple[str, ...]:
    """Return the platforms that somebody chose: the default is a name for an example, not a demand."""
    chosen = configuration.sources["platforms"].kind is not SourceKind.DEFAULT
    return tuple(str(platform) for platform in configuration.settings.platforms) if chosen else ()


def _sources(configuration: Configuration) -> tuple[str, ...]:
    """Return the configured sources as the command line would name them; paths are relative to the file."""
    return tuple(
        f"{source.git}#{source.ref}" if source.ref else source.git or str(configuration.folder / (source.path or ""))
        for source in configuration.settings.sources
    )


def _stop(number: int, _frame: FrameType | None) -> None:
    """End as the signal asks, and take along what runs in other threads."""
    process.end()
    raise SystemExit(128 + number)


def _exit_code(end: SystemExit, output: Output) -> int:
    code = end.code if isinstance(end.code, int) else 0 if end.code is None else 2
    if code in EXIT_INTERRUPTED:
        output.error("interrupted: finished stages are kept, unfinished files were not written")
    return code
