"""`factory verify`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from factory import tables
from factory.cli.app import JsonOption, PlanOption
from factory.cli.runs import run_of
from factory.consumer.init import Flavour
from factory.errors import BadAnswerError, ConfigurationError
from factory.pipeline import artefacts, projects, proving, publishing
from factory.pipeline.run import Run
from factory.proof.model import Proof, proof_to_json
from factory.proof.second_build_model import Beside, SecondBuilds, second_builds_to_json
from factory.publish.signing import Identity


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
        str,
        typer.Option("--variant", help="What to build: as in `cook.variants`, like check:dev or release+workspace."),
    ] = "release",
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="Build the image's plan again without a cache, and compare.")
    ] = False,
    second_build: Annotated[
        Path | None,
        typer.Option("--second-build", help="Build this project with Docker again and again, change after change."),
    ] = None,
    flavour: Annotated[
        list[Flavour] | None,
        typer.Option(
            "--flavour", help="Which Dockerfile of `init` for --second-build; may be repeated (default: plain)."
        ),
    ] = None,
    beside: Annotated[
        list[Beside] | None,
        typer.Option("--beside", help="What to compare second builds with; may be repeated (default: both)."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="What --second-build compares with (default: the configuration's base image)."),
    ] = None,
    bump: Annotated[
        list[str] | None,
        typer.Option(
            "--bump", help="NAME@VERSION of a dependency for --second-build; may be repeated (default: found)."
        ),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", help="Write the record that `push` asks for to this file too.")
    ] = None,
    signature: Annotated[
        bool, typer.Option("--signature", help="Verify the signature of a pushed image, and nothing else.")
    ] = False,
    key: Annotated[str | None, typer.Option("--key", help="Public key of --signature: a file or a KMS URI.")] = None,
    identity: Annotated[
        str | None, typer.Option("--identity", help="Who signed without a key: a pattern of the CI job's identity.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", help="Who vouches for --identity: a pattern of the issuer's URL.")
    ] = None,
    plan: PlanOption = Path("plan.json"),
    json: JsonOption = False,
) -> None:
    """Prove it: build repositories on the result.

    Counts the units that cargo reports fresh, and checks owners, modes, units of other sources and leftovers. Real
    sources are built as they are: their build scripts run, on a directory without tokens and network. Exit 1 when a
    check fails, a build fails, or a repository has fewer fresh units than --min-hit.

    What came out is kept for `factory push`, which takes only images whose last verification passed.

    With --reproducible the plan that the image was made from (--plan) is built once more, which takes as long as the
    first time; what differs is named by crate and file.

    With --second-build, and instead of all that, a copy of one project is built with Docker by the Dockerfiles that
    `factory init` writes: first, unchanged, after a change of its sources, of one dependency's version and of several.
    Told are seconds and cached steps, beside a Dockerfile without any caching and cargo-chef alone on the base image.

    With --signature the image is one of a registry: its index has to be signed, and its list of crates and what it was
    made from attested, by the owner of --key, or by --identity of --issuer.

    Example: factory verify org/rust-builder:web --repo ./repos/app
    """
    run = run_of(context)
    _require_fitting(context.params)
    if signature:
        who = Identity(key=key, identity=identity, issuer=issuer)
        _judge(run, publishing.verify_signature(run, target, who), min_hit=0, json=json)
    elif second_build is not None:
        result = projects.second_builds(
            run,
            target,
            second_build,
            flavour or [Flavour.PLAIN],
            beside=beside or list(Beside),
            base=base,
            bumps=bump or [],
        )
        _answer(run, result, json=json)
    else:
        proof = proving.verify(run, target, repo or [], variant=variant, skeleton=skeleton, cold=cold)
        if reproducible:
            proof = proving.reproduce(run, proof, artefacts.read_plan(run.file_to_read(plan)))
        if proof.image is not None or record is not None:
            publishing.record_proof(proof, min_hit=min_hit, copy=record)
        _judge(run, proof, min_hit=min_hit, json=json)


class _Mode(enum.Enum):
    """What is verified: builds of repositories, unless an option asks for something else instead."""

    BUILDS = enum.auto()
    SECOND_BUILDS = enum.auto()
    SIGNATURE = enum.auto()


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Options that a mode does not have, by the names of the parameters, and what is said to whoever gives one."""

    options: tuple[str, ...]
    what: str
    advice: str


_OF_BUILDS = ("repo", "skeleton", "cold", "reproducible", "min_hit", "record")
_OF_SECOND_BUILDS = ("flavour", "beside", "base", "bump")
_OF_SIGNATURES = ("key", "identity", "issuer")

_NOT_SIGNED = _Refusal(_OF_SIGNATURES, "--key, --identity and --issuer are for signatures", "Add --signature.")

_REFUSED: Mapping[_Mode, tuple[_Refusal, ...]] = {
    _Mode.BUILDS: (
        _NOT_SIGNED,
        _Refusal(
            _OF_SECOND_BUILDS,
            "--flavour, --beside, --base and --bump are for second builds",
            "Name the project: --second-build PATH.",
        ),
    ),
    _Mode.SECOND_BUILDS: (
        _NOT_SIGNED,
        _Refusal(
            _OF_BUILDS,
            "--second-build goes with --flavour, --beside, --base, --bump and --json only",
            "Verify the rest by itself.",
        ),
    ),
    _Mode.SIGNATURE: (
        _Refusal(
            (*_OF_BUILDS, *_OF_SECOND_BUILDS, "second_build"),
            "--signature goes with --key, --identity, --issuer and --json only",
            "Verify the rest by itself.",
        ),
    ),
}


def _require_fitting(given: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for an option of another mode than the one that the options choose."""
    mode = _Mode.BUILDS if given["second_build"] is None else _Mode.SECOND_BUILDS
    for refusal in _REFUSED[_Mode.SIGNATURE if given["signature"] else mode]:
        if any(given[option] for option in refusal.options):
            raise ConfigurationError(refusal.what, advice=refusal.advice)


def _judge(run: Run, proof: Proof, *, min_hit: float, json: bool) -> None:
    if json:
        run.output.answer_json(proof_to_json(proof, min_hit=min_hit))
    else:
        tables.print_proof(proof, run.output)
    if not proof.ok(min_hit):
        raise BadAnswerError(f"{proof.target} does not pass", advice="See the rows above that say why.")


def _answer(run: Run, result: SecondBuilds, *, json: bool) -> None:
    if json:
        run.output.answer_json(second_builds_to_json(result))
    else:
        tables.print_second_builds(result, run.output)
    if not result.ok:
        raise BadAnswerError(f"{result.project} does not build after every change", advice="See the problems above.")
