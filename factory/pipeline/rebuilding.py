"""All stages in one go, doing nothing where nothing changed: what a schedule calls."""

from __future__ import annotations

import calendar
import contextlib
import enum
import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from factory.analysis.model import analysis_to_json
from factory.base import HOME_MADE, is_home_made
from factory.cargo.advisories import read_advisories
from factory.cargo.ask_index import refresh_index
from factory.cargo.index_cache import CrateIndex
from factory.config.layers import load_layer_profiles
from factory.cook.bake_file import made_by
from factory.cook.budgets import require_within_budgets
from factory.cook.local import is_cooked_from
from factory.costs.estimate import costs_of, fit
from factory.costs.shipped import shipped_records
from factory.engine import Engine
from factory.epoch import chosen_epoch
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError, NothingToDoError, TagTakenError
from factory.exclusive import exclusive
from factory.files import digest, write_json
from factory.pipeline.analyzing import analyze, scan
from factory.pipeline.artefacts import read_analysis, read_plan
from factory.pipeline.building import build_images, build_locally, image_tags
from factory.pipeline.planning import plan as make_plan
from factory.pipeline.proving import verify
from factory.pipeline.publishing import (
    Built,
    Held,
    PushWishes,
    built_by,
    published,
    push,
    record_proof,
    require_pushable,
    stage,
)
from factory.pipeline.toolchains import resolving
from factory.planning.forecast import forecast
from factory.planning.plan_file import plan_to_json
from factory.upkeep.decide import (
    Cause,
    Concern,
    Decision,
    Reason,
    Rules,
    Yield,
    age_reasons,
    carry_over,
    concern_reasons,
    concerns,
    decide,
    input_reasons,
    label_reasons,
    published_reasons,
    yield_of,
)
from factory.upkeep.missing import unreachable, unresolved
from factory.upkeep.state import Inputs, RebuildState, read_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.config.layers import LayerTree
    from factory.output import Output
    from factory.pipeline.run import Run
    from factory.planning.plan import Plan
    from factory.publish.model import Published, PushedLayer

VARIES = frozenset({"limits", "costs", "network", "platforms", "sources", "build_cache", "prune", "push"})
"""Settings that say how something is built, not what."""

_NO_INPUT = frozenset({"toolchain", "sizes"})
"""What an analysis has beside the repositories: the first is told apart, the second is what was downloaded here."""

_MOST_PUSHES_A_DAY = 20
"""Of different images that one plan gave."""


class Publish(enum.Enum):
    """What becomes of images that were built and verified."""

    NOTHING = "they stay in the engine"
    STAGED = "they go up, for `factory push --join` on another machine"
    PUSHED = "they go up, and the tags move to them"


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildWishes:
    """What the user of `rebuild` named; `folder` is the directory to cook into, `None` for images.

    `state` is the folder of the run alone, with what the last rebuild was made from, and the records of its proofs.
    A repository of `verify_on` that finds less than `min_hit` of its units fresh is a fault. With `without_missing`
    repositories that cannot be seen are left out; else they are a fault.
    """

    paths: tuple[str, ...]
    state: Path
    folder: Path | None
    profiles: Path | None
    rules: Rules
    advisory_db: Path | None
    verify_on: tuple[str, ...]
    offline: bool
    dry_run: bool
    without_missing: bool = False
    min_hit: float = 0.0
    publish: Publish = Publish.NOTHING

    def target(self, run: Run) -> str:
        """Return what is built, for the state."""
        return f"images of {run.settings.image.repository}" if self.folder is None else f"directory {self.folder}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """What a rebuild decided, and whether it was done; `concerns` are the crates that somebody should look at."""

    decision: Decision
    concerns: tuple[Concern, ...]
    built: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "schema": 1,
            "built": self.built,
            "reasons": [{"cause": row.cause.value, "detail": row.detail} for row in self.decision.reasons],
            "changed": list(self.decision.changed),
            "plan": self.decision.plan.digest,
            "notes": list(self.decision.notes),
            "concerns": [asdict(row) for row in self.concerns],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What is to be done for one platform; `finished` is when what is there was made (Unix time), if anything is."""

    run: Run
    wishes: RebuildWishes
    analysis: Mapping[str, Any]
    """As JSON values."""
    decision: Decision
    concerns: tuple[Concern, ...]
    inputs: Inputs
    finished: int | None


def rebuild(works: Sequence[tuple[Run, RebuildWishes]]) -> tuple[Rebuild, ...]:
    """Build, verify and remember, where something changed; raise `EnvironmentFaultError` beside another rebuild.

    `works` are the platforms whose images are pushed together. The states are written last: a run that ends before
    leaves the work to the next one.
    """
    with contextlib.ExitStack() as locks:
        for _, wishes in works:
            locks.enter_context(exclusive(wishes.state / "rebuild.lock", using=wishes.state))
        if works[0][1].publish is not Publish.NOTHING and not works[0][1].dry_run:
            require_pushable([run for run, _ in works], whole=works[0][1].publish is Publish.PUSHED)
        decided = [_decided(run, wishes) for run, wishes in works]
        if any(row.wishes.dry_run for row in decided):
            return tuple(Rebuild(decision=row.decision, concerns=row.concerns, built=False) for row in decided)
        for row in decided:
            _make(row)
        if any(row.decision.reasons for row in decided):
            _publish(decided)
        for row in decided:
            row.run.output.say("rebuild: remembering")
            _state(row).write(row.wishes.state)
        return tuple(
            Rebuild(decision=row.decision, concerns=row.concerns, built=bool(row.decision.reasons)) for row in decided
        )


def _make(row: _Decided) -> None:
    plan = row.decision.plan
    # Not before: a run that only asks, or ends at what cannot be seen, leaves what the next one has to know.
    write_json(row.wishes.state / "analysis.json", row.analysis)
    # Before the state that names it: until that is written, the plan counts as one that was not built.
    write_json(row.wishes.state / "plan.json", plan_to_json(plan))
    if row.decision.reasons:
        for reason in row.decision.reasons:
            row.run.output.say(f"rebuild, as {reason.cause}: {reason.detail}")
        _build(row.run, row.wishes, plan)
        _verify(row.run, row.wishes, plan)


def _decided(run: Run, wishes: RebuildWishes) -> _Decided:
    # Before the analysis, which may ask it for its compiler.
    base = "" if wishes.folder is not None else _base(run, wishes)
    run.output.say("rebuild: analyzing")
    analysis = _analyzed(run, wishes)
    document, tree = analysis_to_json(analysis), load_layer_profiles(wishes.profiles)
    inputs = _inputs(run, document, tree, base, images=wishes.folder is None)
    state = read_state(wishes.state, target=wishes.target(run))
    last, reasons = _last_plan(wishes, state)
    old = None if reasons else last
    finished = None if state is None else state.finished
    found: tuple[Concern, ...] = ()
    if old is not None and state is not None:
        found = _concerns(run, wishes, old, analysis)
        reasons = (
            *input_reasons(state, inputs, clock=time.time(), rules=wishes.rules),
            *_target_reasons(run, wishes, old),
            *concern_reasons(found),
        )
    if old is not None and not reasons:
        decision = Decision(plan=old, reasons=(), notes=_notes(found), changed=())
    else:
        run.output.say("rebuild: planning")
        new = make_plan(run, analysis, tree)
        if old is not None:
            yields = _yields(tree, old, new, analysis)
            decision = decide(old, new, reasons, yields=yields, rules=wishes.rules, notes=_notes(found))
        else:
            there = published(run, new) if state is None and wishes.publish is not Publish.NOTHING else {}
            if there:
                # A machine that keeps nothing: the registry says what was built, and when.
                found = _concerns(run, wishes, new, analysis)
                finished = _last_push(there)
                decision = _by_registry(run, wishes, new, there, base=base, notes=_notes(found))
            else:
                # Layers that a rebuild pushed before it was killed keep their bytes so.
                new = new if last is None else carry_over(last, new)
                names = tuple(layer.name for layer in new.layers)
                decision = Decision(plan=new, reasons=reasons, notes=(), changed=names)
    return _Decided(
        run=run,
        wishes=wishes,
        analysis=document,
        decision=decision,
        concerns=found,
        inputs=inputs,
        finished=finished,
    )


def _notes(found: Sequence[Concern]) -> tuple[str, ...]:
    return tuple(str(concern) for concern in found if concern.users)


def _by_registry(
    run: Run, wishes: RebuildWishes, plan: Plan, there: Mapping[str, Published], *, base: str, notes: tuple[str, ...]
) -> Decision:
    """Decide by what the published images say of themselves, and their tags of their age."""
    reasons = published_reasons(plan, there, settings=made_by(run.settings), base=base)
    pushed = _last_push(there)
    chosen = chosen_epoch()
    age = () if pushed is None else age_reasons((time.time() if chosen is None else chosen) - pushed, wishes.rules)
    if pushed is None and wishes.rules.max_age is not None:
        run.output.warn("how old the registry's images are is not known: no tag tells when they were pushed")
    return Decision(plan=plan, reasons=(*sorted(set(reasons.values())), *age), notes=notes, changed=tuple(reasons))


def _last_push(there: Mapping[str, Published]) -> int | None:
    """Return the day of the newest push (its first second, Unix time), as the state has that of the last rebuild."""
    days = [found.day for found in there.values() if found.day is not None]
    return calendar.timegm(time.strptime(max(days), "%Y%m%d")) if days else None


def _analyzed(run: Run, wishes: RebuildWishes) -> Analysis:
    """Analyze the repositories; raise `BadAnswerError` where some that images are for cannot be seen."""
    found = scan(run, list(wishes.paths))
    _require_seen(run, wishes, unreachable(found.skipped))
    analysis = analyze(run, found, offline=wishes.offline)
    file = wishes.state / "analysis.json"
    if file.exists():
        try:
            _require_seen(run, wishes, unresolved(found.skipped, analysis, read_analysis(file)))
        except ConfigurationError as error:
            run.output.warn(f"which workspaces could be resolved last time is not known: {error.what}")
    return analysis


def _require_seen(run: Run, wishes: RebuildWishes, lines: Sequence[str]) -> None:
    if lines and not wishes.without_missing:
        raise BadAnswerError(
            "images without these would be cold for those who use them:\n" + "\n".join(lines),
            advice="Mend what is said of each, or rebuild without them: --without-missing.",
        )
    for line in lines:
        run.output.warn(f"left out: {line}")


def _last_plan(wishes: RebuildWishes, state: RebuildState | None) -> tuple[Plan | None, tuple[Reason, ...]]:
    """Return the plan that was last built by, and why everything is to be built where that did not come to its end."""
    plan, detail = None, "the last rebuild did not come to its end"
    try:
        plan = read_plan(wishes.state / "plan.json")
    except ConfigurationError as error:
        detail = error.what
    if state is None:
        detail = f"{wishes.state} has no state of an earlier rebuild"
    elif plan is not None and plan.digest == state.plan:
        return plan, ()
    return plan, (Reason(cause=Cause.FIRST, detail=detail),)


def _inputs(run: Run, analysis: Mapping[str, Any], tree: LayerTree, base: str, *, images: bool) -> Inputs:
    settings = {k: v for k, v in run.settings.model_dump(mode="json").items() if k not in VARIES}
    # Sets have no order of their own.
    layers = json.loads(json.dumps([asdict(row) for row in tree.layers], default=sorted))
    return Inputs(
        repositories=digest({name: value for name, value in analysis.items() if name not in _NO_INPUT}),
        toolchain=digest(analysis["toolchain"]),
        base=base,
        settings=digest([settings, layers]),
        made_by=made_by(run.settings, images=images),
    )


def _base(run: Run, wishes: RebuildWishes) -> str:
    """Return the digest that the base image's name stands for now, "" where nobody knows; have the engine follow it."""
    engine, reference = Engine(), run.settings.base_image
    here = engine.manifest_digest(reference)
    if "@" in reference or wishes.offline or reference.startswith(HOME_MADE):
        return here
    try:
        there = engine.registry_digest(reference)
        if not there:
            run.output.say(f"{reference} is not in its registry: taken as the engine has it")
        if there and here and there != here and not wishes.dry_run:
            run.output.say(f"{reference} moved in its registry: pulling {there[:19]}")
            engine.pull(reference, run.platform)
    except EnvironmentFaultError as error:
        if not is_home_made(reference, engine):
            run.output.warn(f"whether the base image moved is not known: {error.what}")
        return here
    return there or here


def _target_reasons(run: Run, wishes: RebuildWishes, plan: Plan) -> tuple[Reason, ...]:
    """Return what is missing of what was made."""
    if wishes.folder is not None:
        if is_cooked_from(plan, wishes.folder):
            return ()
        return (Reason(cause=Cause.TARGET, detail=f"{wishes.folder} is incomplete, or was made from another plan"),)
    if wishes.publish is not Publish.NOTHING:
        return tuple(published_reasons(plan, published(run, plan), settings=made_by(run.settings)).values())
    return tuple(_engine_reasons(run, plan))


def _engine_reasons(run: Run, plan: Plan) -> Iterator[Reason]:
    """Yield what speaks against the images in the engine: of each layer those of its moving tags, or of its first."""
    engine, image = Engine(), run.settings.image
    for layer, tags in image_tags(run, plan).items():
        moving = {
            f"{image.repository}:{tag}{run.tag_ending}"
            for tag in image.moving_tags_of(layer=layer, rust=run.settings.toolchain)
        }
        for tag in [tag for tag in tags if tag in moving] or tags[:1]:
            try:
                labels = engine.image(tag).labels
            except ConfigurationError as error:
                yield Reason(cause=Cause.TARGET, detail=error.what)
            else:
                yield from label_reasons(tag, labels, plan=plan.layer_digest(layer))


def _concerns(run: Run, wishes: RebuildWishes, plan: Plan, analysis: Analysis) -> tuple[Concern, ...]:
    home, toolchain = resolving(run, analysis.toolchain.version)
    if wishes.offline:
        run.output.say("offline: crates that were yanked since the last look are not known")
    else:
        crates = sorted({planned.unit.package for planned in plan.units.values()})
        problem = refresh_index(crates, toolchain=toolchain, cargo_home=home)
        if problem:
            run.output.warn(f"crates that were yanked since the last look are not known: {problem}")
    advisories = None if wishes.advisory_db is None else read_advisories(wishes.advisory_db)
    return concerns(plan, analysis, facts=CrateIndex(home), advisories=advisories)


def _yields(tree: LayerTree, old: Plan, new: Plan, analysis: Analysis) -> tuple[Yield, Yield]:
    """Forecast both plans for the repositories as they are now, by the same costs: the newest ones."""
    known = {key: planned.cost for plan in (old, new) for key, planned in plan.units.items()}
    costs = costs_of(analysis.units, known, fit(shipped_records()), analysis.sizes.get)
    builds = {workspace.path: workspace.builds for workspace in analysis.workspaces}
    jobs = max((row.jobs for row in new.forecast), default=1)

    def of(plan: Plan) -> Yield:
        layer_of = {key: planned.layer for key, planned in plan.units.items()}
        return yield_of(forecast(analysis, layer_of, costs=costs, tree=tree, jobs=jobs), builds)

    return of(old), of(new)


def _build(run: Run, wishes: RebuildWishes, plan: Plan) -> None:
    run.output.say("rebuild: building")
    if wishes.folder is None:
        require_within_budgets(build_images(run, plan))
    else:
        require_within_budgets(build_locally(run, plan, wishes.folder))


def _verify(run: Run, wishes: RebuildWishes, plan: Plan) -> None:
    run.output.say("rebuild: verifying")
    targets = {plan.layers[-1].name: str(wishes.folder)}
    if wishes.folder is None:
        # What adds nothing to the image below is that image.
        tags = image_tags(run, plan)
        targets = {layer.name: tags[layer.name][0] for layer in plan.layers if layer.adds}
    variant = plan.contract.variants[0]
    for layer, target in targets.items():
        proof = verify(run, target, list(wishes.verify_on), variant=variant, skeleton=False, cold=False)
        if wishes.folder is None:
            record_proof(proof, min_hit=wishes.min_hit, copy=record_file(wishes.state, layer))
        if failures := proof.failures(wishes.min_hit):
            raise BadAnswerError(
                f"{target} does not pass: {'; '.join(failures)}", advice=f"See `factory verify {target}`."
            )


def record_file(state: Path, layer: str) -> Path:
    """Return where a rebuild with this folder of its state keeps the record of a layer's proof."""
    return state / "proofs" / f"{layer}.json"


def _publish(decided: Sequence[_Decided]) -> None:
    """Push or stage what was built; the images of a platform on which nothing changed are in the registry already."""
    first = decided[0]
    output = first.run.output
    try:
        if first.wishes.publish is Publish.STAGED:
            output.say("rebuild: staging")
            for row in decided:
                if row.decision.reasons:
                    stage(built_by(row.run, row.decision.plan), PushWishes())
        elif first.wishes.publish is Publish.PUSHED:
            output.say("rebuild: pushing")
            held = (Held.HERE if row.decision.reasons else Held.PUBLISHED for row in decided)
            builds = [built_by(row.run, row.decision.plan, its) for row, its in zip(decided, held, strict=True)]
            for layer in _pushed(builds, output):
                # Those that never move are what leads back to these images later.
                told = ", ".join((layer.layer, *layer.immutable, layer.index))
                output.say(f"{'pushed' if layer.changed else 'unchanged'}: {told}")
    except NothingToDoError as error:
        # A run before this one ended between its push and its state.
        output.say(error.what)


def _pushed(builds: Sequence[Built], output: Output) -> tuple[PushedLayer, ...]:
    """Push under the first number that is free: nobody is there to choose one where other images went up today."""
    for serial in range(1, _MOST_PUSHES_A_DAY):
        try:
            return push(builds, PushWishes(serial=serial))
        except TagTakenError as error:
            output.warn(f"{error.what}: these get the number {serial + 1}")
    return push(builds, PushWishes(serial=_MOST_PUSHES_A_DAY))


def _state(row: _Decided) -> RebuildState:
    plan, target = row.decision.plan, row.wishes.target(row.run)
    inputs = row.inputs
    if row.wishes.folder is None and not inputs.base:
        # Nobody knew, and the build pulled it.
        inputs = replace(inputs, base=Engine().manifest_digest(row.run.settings.base_image))
    return RebuildState(
        target=target,
        inputs=inputs,
        plan=plan.digest,
        layers={layer.name: plan.layer_digest(layer.name) for layer in plan.layers},
        # Its age is that of what was built.
        finished=int(time.time()) if row.decision.reasons or row.finished is None else row.finished,
    )
