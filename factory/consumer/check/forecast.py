"""The stage `check`: what a repository will find warm, and the root cause of every miss, without building anything."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.analysis.uses import pin_conflict
from factory.cargo.sources import CRATES_IO_ONLY, CookableSources
from factory.cargo.variants import Variant
from factory.consumer.check.causes import Cause, Explained, Root, Situation, explain_misses
from factory.consumer.check.model import (
    Amount,
    CheckReport,
    Miss,
    MissedUnit,
    VariantCheck,
    WorkspaceCheck,
    most_lost_first,
)
from factory.consumer.check.places import Places
from factory.consumer.check.profiles import Offer, OtherProfiles
from factory.consumer.check.remedies import place_of, remedy_of
from factory.consumer.check.settings import BUILD_OVERRIDE
from factory.graph import MergedGraph
from factory.planning.wall import BuildModel
from factory.scan.cargo_config import Replacement, read_recorded
from factory.scan.source_tree import SourceTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.analysis.model import Analysis, Workspace
    from factory.consumer.check.warm import Warm
    from factory.cook.facts import WarmUnit
    from factory.costs.model import UnitCost
    from factory.model import Side, UnitKey
    from factory.scan.model import FoundWorkspace, Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: of which variant and image the totals are (`None`: chosen by what is warm).

    With `ignore_pin` the forecast is for a build by the warm toolchain, whatever the repository pins.
    """

    variant: str | None = None
    image: str | None = None
    ignore_pin: bool = False


def check(
    found: Scan,
    analysis: Analysis,
    warm: Warm,
    question: Question,
    *,
    costs: Mapping[UnitKey, UnitCost],
    jobs: int,
    sources: CookableSources = CRATES_IO_ONLY,
) -> CheckReport:
    """Forecast every workspace of a scan; `costs` has every unit of its analysis, `sources` are those configured.

    Wall seconds are predicted for a machine with `jobs` parallel jobs.

    Raises `UnscannableError` for a file of the repository that cannot be read.
    """
    variant = question.variant or default_variant(warm)
    image = question.image or _best_image(analysis, warm, variant, costs)
    by_path = {workspace.path: workspace for workspace in found.workspaces}
    # What is warm could be cooked, whatever is configured where somebody asks.
    cookable = sources.with_those_of(planned.unit.package for planned in warm.units.values())
    return CheckReport(
        warm=warm.name,
        plan=warm.digest,
        rustc=warm.toolchain.version,
        variant=variant,
        image=image,
        images=tuple(warm.parents),
        jobs=jobs,
        workspaces=tuple(
            _Forecaster(
                workspace=workspace,
                analysis=analysis,
                warm=warm,
                image=image,
                costs=costs,
                jobs=jobs,
                sources=cookable,
                places=Places(by_path[workspace.path]),
                barred=_barred(workspace, by_path[workspace.path], warm, question),
            ).check()
            if workspace.variants
            else _skipped(workspace)
            for workspace in analysis.workspaces
        ),
    )


def default_variant(warm: Warm) -> str:
    """Return the variant that most builds are: `release` where it is warm, else the first."""
    return "release" if "release" in warm.variants else warm.variants[0]


def _best_image(analysis: Analysis, warm: Warm, variant: str, costs: Mapping[UnitKey, UnitCost]) -> str:
    """Return the image that saves most seconds; of those that save the same, the one with the least in it."""
    keys = [key for w in analysis.resolved if variant in w.variants for key in w.variants[variant].keys]
    saved: dict[str, float] = {}
    for image in warm.parents:
        layers = warm.held_by(image)
        saved[image] = sum(costs[key].seconds for key in keys if key in warm.units and warm.units[key].layer in layers)
    most = max(saved.values())
    depth = {image: len(warm.held_by(image)) for image in saved}
    return min((image for image, seconds in saved.items() if seconds >= most), key=lambda image: (depth[image], image))


def _skipped(workspace: Workspace) -> WorkspaceCheck:
    return WorkspaceCheck(
        path=workspace.path, repo=workspace.repo, skipped=workspace.reason or "no variant", remarks=(), variants={}
    )


def _barred(workspace: Workspace, found: FoundWorkspace, warm: Warm, question: Question) -> Root | None:
    """Return what keeps all units of a workspace from being fresh; `None` where nothing does."""
    if not question.ignore_pin and pin_conflict(workspace, warm.toolchain.version) is not None:
        return Root(
            cause=Cause.TOOLCHAIN,
            subject="rust-toolchain",
            warm=warm.toolchain.version,
            yours=workspace.toolchain_pin or "",
        )
    instead = read_recorded(SourceTree.of(found), found.root).replacement
    if instead in {None, Replacement.REGISTRY}:
        # Through a mirror units may have been cooked as well: that is told, and left to the image's doctor.
        return None
    return Root(cause=Cause.SOURCES, subject="source.crates-io", warm="the registry", yours=str(instead))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forecaster:
    """Forecasts one workspace; `barred` is what lets nothing of it be fresh, whatever its units are."""

    workspace: Workspace
    analysis: Analysis
    warm: Warm
    image: str
    costs: Mapping[UnitKey, UnitCost]
    jobs: int
    sources: CookableSources
    places: Places
    barred: Root | None

    def check(self) -> WorkspaceCheck:
        return WorkspaceCheck(
            path=self.workspace.path,
            repo=self.workspace.repo,
            skipped="",
            remarks=tuple(filter(None, (self.workspace.remark,))),
            variants={name: self._variant(name) for name in sorted(self.workspace.variants)},
        )

    def _variant(self, name: str) -> VariantCheck:
        keys = self.workspace.variants[name].keys
        warm = {image: self._warm_on(image, keys) for image in self.warm.parents}
        hits = warm[self.image]
        model = BuildModel(keys, units=self.analysis.units, costs=self.costs)
        explained = self._explain(name, [key for key in keys if key not in hits])
        misses = tuple(sorted(self._misses(explained, self._other_profiles(name)), key=most_lost_first))
        index = {miss.root: number for number, miss in enumerate(misses)}
        return VariantCheck(
            variant=name,
            image=self.image,
            total=self._amount(keys),
            images={image: self._amount(there) for image, there in warm.items()},
            wall_cold=model.wall_seconds(self.jobs),
            wall_warm={image: model.wall_seconds(self.jobs, warm=there) for image, there in warm.items()},
            hits=tuple(sorted(hits)),
            misses=misses,
            missed=tuple(
                MissedUnit(
                    unit=self.analysis.units[key],
                    seconds=self.costs[key].seconds,
                    bytes=self.costs[key].bytes,
                    causes=tuple(sorted(index[root] for root in roots)),
                )
                for key, roots in explained.roots.items()
            ),
        )

    def _warm_on(self, image: str, keys: Iterable[UnitKey]) -> frozenset[UnitKey]:
        if self.barred is not None:
            return frozenset()
        layers = self.warm.held_by(image)
        return frozenset(key for key in keys if key in self.warm.units and self.warm.units[key].layer in layers)

    def _amount(self, keys: Iterable[UnitKey]) -> Amount:
        listed = sorted(keys)
        return Amount(len(listed), sum(self.costs[key].seconds for key in listed))

    def _explain(self, variant: str, missing: list[UnitKey]) -> Explained:
        if self.barred is not None:
            barred = {key: frozenset({self.barred}) for key in sorted(missing)}
            return Explained(roots=barred, own=barred, settings={})
        profile, units = Variant.parse(variant).profile, self.warm.units
        situation = Situation(
            graph=MergedGraph(self.analysis.units),
            warm=self._held,
            elsewhere={key: units[key].layer for key in missing if key in units},
            dropped=self.warm.dropped,
            excluded=self.warm.excluded,
            profile=profile,
            overrides=self.places.overrides(profile),
            sources=self.sources,
            rustflags=self.warm.rustflags,
        )
        return explain_misses(situation, missing)

    def _other_profiles(self, variant: str) -> OtherProfiles:
        profile = Variant.parse(variant).profile
        return OtherProfiles(
            graph=MergedGraph(self.analysis.units),
            keys=frozenset(self.workspace.variants[variant].keys),
            warm={key: planned.unit for key, planned in self._held.items()},
            profile=profile,
            overrides=self.places.overrides(profile),
            for_host=self.places.keys(f"profile.{profile}.{BUILD_OVERRIDE}"),
        )

    @property
    def _held(self) -> dict[UnitKey, WarmUnit]:
        """What the image holds."""
        layers = self.warm.held_by(self.image)
        return {key: planned for key, planned in self.warm.units.items() if planned.layer in layers}

    def _misses(self, explained: Explained, others: OtherProfiles) -> Iterable[Miss]:
        by_root: dict[Root, list[UnitKey]] = defaultdict(list)
        for key, roots in explained.roots.items():
            for root in roots:
                by_root[root].append(key)
        for root, keys in by_root.items():
            offer = self._offer(root, others)
            settings = explained.settings.get(root, ())
            if offer is not None:
                settings = offer.change.settings.get(root.subject, settings)
            crates, dependents = self._crates(root, keys, explained)
            yield Miss(
                root=root,
                settings=settings,
                repo=self.workspace.repo,
                workspaces=(self.workspace.path,),
                sides=(sides := self._sides(root, keys)),
                place=place_of(root, settings, crates, self.places),
                remedy=remedy_of(root, settings, sides, self.places, offer),
                units=len(keys),
                lost=sum(self.costs[key].seconds / len(explained.roots[key]) for key in keys),
                alone=self._amount(self._back_alone(root, keys, explained, offer)),
                crates=crates,
                dependents=dependents,
            )

    def _offer(self, root: Root, others: OtherProfiles) -> Offer | None:
        if root.cause is not Cause.CARGO_PROFILE:
            return None
        return others.best_offer(root.subject, lambda gained: self._amount(gained).seconds)

    @staticmethod
    def _back_alone(root: Root, keys: list[UnitKey], explained: Explained, offer: Offer | None) -> Iterable[UnitKey]:
        """Return what comes back when a cause alone is mended; a cargo profile changes all units, and is forecast."""
        if root.cause is Cause.CARGO_PROFILE:
            return () if offer is None else offer.gained
        return (key for key in keys if len(explained.roots[key]) == 1)

    def _sides(self, root: Root, keys: list[UnitKey]) -> tuple[Side, ...]:
        units = (self.analysis.units[key] for key in keys)
        # A build script is compiled for the host, whatever its library is for.
        libraries = (unit for unit in units if unit.is_library and unit.package.label == root.subject)
        return tuple(sorted({side for unit in libraries for side in unit.sides}))

    def _crates(self, root: Root, keys: list[UnitKey], explained: Explained) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the crates that have the cause themselves, and those that only stand on such."""
        seconds: dict[str, float] = defaultdict(float)
        for key in keys:
            seconds[self.analysis.units[key].package.label] += self.costs[key].seconds
        if root.name:
            own = {root.subject}
        else:
            own = {self.analysis.units[key].package.label for key in keys if root in explained.own[key]}
        order = sorted(seconds, key=lambda label: (-seconds[label], label))
        return tuple(label for label in order if label in own) or tuple(own), tuple(
            label for label in order if label not in own
        )
