"""Whether to rebuild, and by which plan: compares the state of the last rebuild with what there is now."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.labels import Label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.cargo.advisories import Advisories
    from factory.cargo.index_cache import CrateFacts
    from factory.model import PackageId
    from factory.planning.plan import Forecast, Plan
    from factory.publish.model import Published
    from factory.upkeep.state import Inputs, RebuildState

SECONDS_A_DAY = 86_400


class Cause(enum.StrEnum):
    """Why something is rebuilt."""

    FIRST = "first"
    TARGET = "target"
    TOOLCHAIN = "toolchain"
    BASE = "base-image"
    SETTINGS = "settings"
    POLICY = "policy"
    AGE = "age"
    REPOSITORIES = "repositories"
    YANKED = "yanked"
    ADVISORY = "advisory"


SOFT = frozenset({Cause.POLICY, Cause.REPOSITORIES, Cause.YANKED, Cause.ADVISORY})
"""Causes that ask for another plan: where that turns out to be the old one, nothing has to be built."""


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Reason:
    """One cause in words."""

    cause: Cause
    detail: str


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Concern:
    """A planned crate that was yanked or that an advisory (`id`) warns of, and the workspaces that still lock it."""

    package: str
    id: str
    users: tuple[str, ...]

    @property
    def cause(self) -> Cause:
        """What it is a cause for, once nobody locks it any more."""
        return Cause.ADVISORY if self.id else Cause.YANKED

    def __str__(self) -> str:
        """Return what there is to say, with those who could do something."""
        said = f"{self.package}: {self.id or 'was yanked'}"
        if not self.users:
            return f"{said}; no repository locks it any more"
        more = f" and {len(self.users) - 3} more" if len(self.users) > 3 else ""
        return f"{said}; stays warm, as it is locked by {', '.join(self.users[:3])}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a plan is given up: `tolerance` and `if_hit_below` are parts of one, `max_age` is in days.

    A plan whose saved wall seconds are within `tolerance` of the best new one stays: costs are measured anew in every
    cook, and a selection that follows each of them would change images for nothing. With `if_hit_below`, it stays
    even longer: until its hits, by seconds, sink below that.
    """

    tolerance: float = 0.02
    if_hit_below: float | None = None
    max_age: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """What a plan gives the repositories as they are now: wall seconds saved, and its hits by seconds (0 to 1)."""

    saved: float
    hit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do: `reasons` are why `plan` is built, none where nothing has to be; `notes` are what else to know."""

    plan: Plan
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    changed: tuple[str, ...]
    """The layers that get other bytes, lowest first."""


def input_reasons(state: RebuildState, now: Inputs, *, clock: float, rules: Rules) -> tuple[Reason, ...]:
    """Return which inputs differ from those of the last rebuild, and whether it is too old; `clock` is Unix time."""
    before = state.inputs
    compared = (
        (Cause.TOOLCHAIN, before.toolchain, now.toolchain, "another compiler"),
        (Cause.REPOSITORIES, before.repositories, now.repositories, "the repositories resolve to other units"),
    )
    reasons = [Reason(cause=cause, detail=detail) for cause, old, new, detail in compared if old != new]
    # A state of an older version does not say by which settings images were made.
    if before.made_by != now.made_by and (before.made_by or before.settings != now.settings):
        reasons.append(
            Reason(
                cause=Cause.SETTINGS,
                detail="settings changed that decide what every image is like, or factory makes them in other steps",
            )
        )
    elif before.settings != now.settings:
        reasons.append(Reason(cause=Cause.POLICY, detail="the configuration or a profile changed"))
    if before.base != now.base and before.base and now.base:
        reasons.append(Reason(cause=Cause.BASE, detail=f"base image moved from {before.base} to {now.base}"))
    return (*reasons, *age_reasons(clock - state.finished, rules))


def age_reasons(seconds: float, rules: Rules) -> tuple[Reason, ...]:
    """Return that what was built so many seconds ago is too old, where it is."""
    days = seconds / SECONDS_A_DAY
    if rules.max_age is None or days < rules.max_age:
        return ()
    return (Reason(cause=Cause.AGE, detail=f"{days:.0f} days old, and {rules.max_age} are allowed"),)


def label_reasons(image: str, labels: Mapping[str, str], *, plan: str) -> tuple[Reason, ...]:
    """Return that the labels of an image in the engine name another plan than that with this digest, where they do."""
    if labels.get(Label.PLAN, "") == plan:
        return ()
    return (Reason(cause=Cause.TARGET, detail=f"{image} was made from another plan"),)


def published_reasons(
    plan: Plan, there: Mapping[str, Published], *, settings: str, base: str = ""
) -> dict[str, Reason]:
    """Return what speaks against the published images, by layer.

    `settings` is the digest of those that decide an image's bytes beside its plan, `base` that of the base image, ""
    where it is not to be compared.
    """
    reasons = {}
    for layer in (layer.name for layer in plan.layers):
        found, image = there.get(layer), f"the registry's image of {layer}"
        if found is None or found.plan != plan.layer_digest(layer):
            reasons[layer] = Reason(cause=Cause.TARGET, detail=f"{image} is of another plan, or not there")
        elif base and found.base and found.base != base:
            detail = f"{image} stands on {found.base[:19]}, not on {base[:19]}"
            reasons[layer] = Reason(cause=Cause.BASE, detail=detail)
        elif found.settings and found.settings != settings:
            reasons[layer] = Reason(
                cause=Cause.SETTINGS, detail=f"{image} was made with other settings, or in other steps"
            )
        elif not found.whole:
            detail = f"some tags of {layer} in the registry are not there, or stand for another image"
            reasons[layer] = Reason(cause=Cause.TARGET, detail=detail)
    return reasons


def concerns(
    plan: Plan,
    analysis: Analysis,
    *,
    facts: Callable[[PackageId], CrateFacts | None],
    advisories: Advisories | None,
) -> tuple[Concern, ...]:
    """Return the planned crates that were yanked, or that an advisory warns of."""
    users = _users(analysis)
    found: list[Concern] = []
    for package in sorted({planned.unit.package for planned in plan.units.values()}):
        known = facts(package)
        ids = ["" for _ in [known] if known is not None and known.yanked]
        ids += sorted(advisories.of(package)) if advisories is not None else []
        locked = tuple(sorted(users.get(package, ())))
        found += [Concern(package=f"{package.name} {package.version}", id=name, users=locked) for name in ids]
    return tuple(found)


def concern_reasons(found: Iterable[Concern]) -> tuple[Reason, ...]:
    """Return the concerns that a new plan would be rid of: what a repository locks is never dropped silently."""
    return tuple(Reason(cause=concern.cause, detail=str(concern)) for concern in found if not concern.users)


def yield_of(rows: Sequence[Forecast], builds: Mapping[str, float]) -> Yield:
    """Sum up a forecast; every workspace builds on its best image, as often as `builds` says (by path)."""
    saved = seconds = hit = 0.0
    for row in rows:
        often = builds.get(row.path, 1.0)
        saved += often * max((row.wall_cold - warm for warm in row.wall_warm.values()), default=0.0)
        hit += often * max(row.seconds_hit.values(), default=0.0)
        seconds += often * row.seconds_total
    return Yield(saved=saved, hit=hit / seconds if seconds else 1.0)


def decide(
    old: Plan, new: Plan, reasons: Sequence[Reason], *, yields: tuple[Yield, Yield], rules: Rules, notes: Sequence[str]
) -> Decision:
    """Choose between the plan of the last rebuild and a new one; `yields` are theirs, in that order.

    Only drift of the repositories is weighed: every other cause has a new plan built. A crate that was yanked or
    warned of, and that the new plan is rid of, is such a cause.
    """
    new = carry_over(old, new)
    if all(reason.cause in SOFT for reason in reasons):
        # Debian packages are in the digests of layers alone.
        if new.digest == old.digest and not changed_layers(old, new):
            moved = "configuration" if any(reason.cause is Cause.POLICY for reason in reasons) else "repositories"
            return _stays(old, (*notes, f"the {moved} changed, and the plan did not"))
        if all(reason.cause is Cause.REPOSITORIES for reason in reasons):
            kept = _kept(*yields, rules)
            if kept:
                return _stays(old, (*notes, kept))
    changed = changed_layers(old, new)
    if any(reason.cause is Cause.BASE for reason in reasons):
        changed = tuple(layer.name for layer in new.layers)
    return Decision(plan=new, reasons=tuple(sorted(reasons)), notes=tuple(notes), changed=changed)


def _stays(plan: Plan, notes: Sequence[str]) -> Decision:
    return Decision(plan=plan, reasons=(), notes=tuple(notes), changed=())


def _kept(old: Yield, new: Yield, rules: Rules) -> str:
    """Return why the old plan stays in spite of changed repositories; empty where it does not."""
    if rules.if_hit_below is not None:
        if old.hit >= rules.if_hit_below:
            return f"the plan stays: it still hits {old.hit:.0%} of the compile seconds"
        return ""
    if new.saved - old.saved <= rules.tolerance * new.saved:
        share = old.saved / new.saved if new.saved else 1.0
        return f"the plan stays: it saves {share:.1%} of the wall seconds that a new one would"
    return ""


def changed_layers(old: Plan, new: Plan) -> tuple[str, ...]:
    """Return the layers of `new` that hold something else than in `old`, or stand on one that does."""
    before = {layer.name: old.layer_digest(layer.name) for layer in old.layers}
    return tuple(layer.name for layer in new.layers if before.get(layer.name) != new.layer_digest(layer.name))


def carry_over(old: Plan, new: Plan) -> Plan:
    """Return `new` saying of the units of unchanged layers what `old` said, with the same entries of the index.

    Images tell of each unit why it is in and what it costs. Where only that moved, or a lock in what is not compiled,
    the bytes of a layer have to stay: nothing is cooked for it.
    """
    changed = frozenset(changed_layers(_without_index(old), _without_index(new)))
    before = {layer.name: layer.index for layer in old.layers}
    layers = (layer if layer.name in changed else replace(layer, index=before[layer.name]) for layer in new.layers)
    new = replace(new, layers=tuple(layers))
    units = {key: unit if unit.layer in changed else old.units[key] for key, unit in new.units.items()}
    return replace(new, units=units)


def _without_index(plan: Plan) -> Plan:
    return replace(plan, layers=tuple(replace(layer, index=()) for layer in plan.layers))


def _users(analysis: Analysis) -> dict[PackageId, set[str]]:
    users: dict[PackageId, set[str]] = {}
    for workspace in analysis.resolved:
        for entry in workspace.lock.packages:
            users.setdefault(entry.package, set()).add(workspace.path)
    return users
