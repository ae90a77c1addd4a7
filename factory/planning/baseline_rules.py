"""Derives the baseline from an analysis: rules about versions, features and cargo profiles, each with its reasons."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import semver

from factory.cargo.compatibility import caret_range
from factory.cargo.profile_table import ProfileTable
from factory.cargo.requirement import allows
from factory.model import PackageId, Side
from factory.planning.baseline import Baseline, BaselineCrate, BaselineProfile, NotInBaseline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.cargo.index_cache import CrateFacts
    from factory.model import Unit
    from factory.planning.behaviour import BehaviourFeatures

_ROUNDS = 5
"""What is settled on one version may ask for others below."""

RangeId = tuple[str, str, str]
"""Name, source and semver range of a crate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRules:
    """What the baseline goes by.

    Every range in use is in: what only one repository compiles, the next one can meet at. A feature is where at least
    `min_repos` repositories use it, or all of the fewer ones that the range has; a version where at least `msrv_share`
    of the range's repositories may take it by their `rust-version`. `facts` is what the registry says of a
    package, `None` for what is not known; `versions` are all that it has of a crate.
    """

    min_repos: int
    msrv_share: float
    never: BehaviourFeatures
    facts: Callable[[PackageId], CrateFacts | None]
    versions: Callable[[str], Iterable[str]]


def derive_baseline(analysis: Analysis, rules: BaselineRules) -> Baseline:
    """Return the baseline of all resolved workspaces; the same for whatever order they come in."""
    uses = {range_id: use for range_id, use in _uses(analysis).items() if use.versions}
    left_out: list[NotInBaseline] = []
    able = {range_id: _able(range_id, use, rules, left_out) for range_id, use in sorted(uses.items())}
    agreed = _agreed({range_id: versions for range_id, versions in able.items() if versions}, uses, rules, left_out)
    crates = [_crate(range_id, version, uses[range_id], rules, left_out) for range_id, version in agreed.items()]
    needed = [rules.facts(PackageId(crate.name, crate.version, crate.source)) for crate in crates]
    versions = [facts.rust_version for facts in needed if facts is not None and facts.rust_version is not None]
    return Baseline(
        crates=tuple(sorted(crates)),
        profiles=_profiles(analysis),
        rust_version=max(versions, key=rust_release, default=None),
        left_out=tuple(sorted(left_out)),
    )


def rust_release(text: str) -> tuple[int, ...]:
    """Return a Rust version as numbers that compare: `1.70` is `1.70.0`. What is no version needs nothing."""
    parts = text.partition("-")[0].split(".")
    if not all(part.isdigit() for part in parts):
        return (0, 0, 0)
    return tuple([*(int(part) for part in parts), 0, 0][:3])


@dataclass(frozen=True, slots=True)
class _Use:
    """Who uses a range: repositories by version, by side and feature, and by the range that it depends on.

    `declared` has the lowest `rust-version` of a repository's workspaces that use it: what others of its workspaces,
    such as fixtures of tests, declare holds nobody back.
    """

    versions: Mapping[str, set[str]]
    features: Mapping[Side, Mapping[str, set[str]]]
    depends: Mapping[RangeId, set[str]]
    declared: dict[str, str]

    @property
    def repos(self) -> frozenset[str]:
        return frozenset().union(*self.versions.values())


def _uses(analysis: Analysis) -> dict[RangeId, _Use]:
    found: dict[RangeId, _Use] = {}
    for workspace in analysis.resolved:
        for key in {key for use in workspace.variants.values() for key in use.keys}:
            unit = analysis.units[key]
            use = found.setdefault(
                range_of(unit),
                _Use(defaultdict(set), {side: defaultdict(set) for side in Side}, defaultdict(set), {}),
            )
            for edge in unit.dependencies:
                use.depends[range_of(analysis.units[edge.key])].add(workspace.repo)
            if not unit.is_library:
                continue
            if workspace.rust_version is not None:
                lowest = use.declared.get(workspace.repo, workspace.rust_version)
                use.declared[workspace.repo] = min(lowest, workspace.rust_version, key=rust_release)
            use.versions[unit.package.version].add(workspace.repo)
            for side in unit.sides:
                for feature in unit.features:
                    use.features[side][feature].add(workspace.repo)
    return found


def range_of(unit: Unit) -> RangeId:
    """Return in which range of which crate a unit is."""
    package = unit.package
    return (package.name, package.source, caret_range(package.version))


def _able(range_id: RangeId, use: _Use, rules: BaselineRules, left_out: list[NotInBaseline]) -> tuple[str, ...]:
    """Return the versions in use that are not yanked and that enough repositories may take, the newest first.

    Where all are yanked, it is the one that came after them.
    """
    name, source, caret = range_id
    repos = use.repos
    may_take: dict[str, int] = {}
    able: list[str] = []
    for version in sorted(use.versions, key=semver.Version.parse, reverse=True):
        facts = rules.facts(PackageId(name, version, source))
        label, users = f"{name}@{version}", len(use.versions[version])
        if facts is not None and facts.yanked:
            # Of what is older than one that is taken nobody asks.
            left_out += [] if able else [_row(label, users, "yanked")]
            continue
        may_take[version] = len(repos) - len(_held_back(facts, use))
        if may_take[version] >= rules.msrv_share * len(repos):
            able.append(version)
        elif not able:
            needs = facts.rust_version if facts is not None else None
            left_out.append(_row(label, users, f"needs rustc {needs}, which too many repositories forbid"))
    if not may_take:
        newest = max(use.versions, key=semver.Version.parse)
        later = [one for one in rules.versions(name) if caret_range(one) == caret and _is_newer(one, newest)]
        return tuple(one for one in sorted(later, key=semver.Version.parse) if _suits(one, range_id, use, rules))[:1]
    # None satisfies enough of them: the one that most can take, the newest of several.
    best = max(may_take, key=lambda version: (may_take[version], semver.Version.parse(version)), default=None)
    return tuple(able) or (() if best is None else (best,))


def _is_newer(version: str, than: str) -> bool:
    return semver.Version.parse(version) > semver.Version.parse(than)


def _suits(version: str, range_id: RangeId, use: _Use, rules: BaselineRules) -> bool:
    """Whether a version that nobody uses so far is not yanked, and enough repositories may take it."""
    facts = rules.facts(PackageId(range_id[0], version, range_id[1]))
    if facts is None or facts.yanked:
        return False
    return len(use.repos) - len(_held_back(facts, use)) >= rules.msrv_share * len(use.repos)


def _agreed(
    able: Mapping[RangeId, Sequence[str]],
    uses: Mapping[RangeId, _Use],
    rules: BaselineRules,
    left_out: list[NotInBaseline],
) -> Mapping[RangeId, str]:
    """Return a version of each range: the newest that goes with what most of its users have above it.

    `crypto-common@0.1.7` for one wants exactly `generic-array@0.14.7`, although newer ones are in use. What only few
    of its users have decides nothing: they stay apart.
    """
    agreed = {range_id: versions[0] for range_id, versions in able.items()}
    demands: Mapping[RangeId, Mapping[str, str]] = {}
    for _ in range(_ROUNDS):
        demands = _demands(agreed, able, uses, rules)
        now = {range_id: _newest_allowed(versions, demands.get(range_id, {})) for range_id, versions in able.items()}
        if now == agreed:
            break
        agreed = now
    for range_id, version in agreed.items():
        newest = able[range_id][0]
        if version != newest:
            asking = sorted(demands.get(range_id, {}).items())
            why = "; ".join(f"{by} wants `{demand}`" for demand, by in asking if not allows(demand, newest))
            label = f"{range_id[0]}@{newest}"
            left_out.append(
                _row(label, len(uses[range_id].versions[newest]), f"{why}, and most of its users have both")
            )
    return agreed


def _demands(
    agreed: Mapping[RangeId, str],
    able: Mapping[RangeId, Sequence[str]],
    uses: Mapping[RangeId, _Use],
    rules: BaselineRules,
) -> Mapping[RangeId, Mapping[str, str]]:
    """Return by range what is asked for of it, each with who asks, by what most of its users have.

    What none of its versions meets is about another range.
    """
    found: dict[RangeId, dict[str, str]] = defaultdict(dict)
    for (name, source, caret), version in agreed.items():
        facts = rules.facts(PackageId(name, version, source))
        for below, repos in uses[name, source, caret].depends.items():
            if facts is None or below not in agreed or 2 * len(repos) <= len(uses[below].repos):
                continue
            for row in facts.dependencies:
                meets = (allows(row.requirement, one) for one in able[below])
                if row.kind != "dev" and row.package == below[0] and any(meets):
                    found[below].setdefault(row.requirement, f"{name}@{version}")
    return found


def _newest_allowed(versions: Sequence[str], demands: Mapping[str, str]) -> str:
    """Return the newest version that meets all demands; the newest of all where none does."""
    return next((one for one in versions if all(allows(demand, one) for demand in demands)), versions[0])


def _crate(
    range_id: RangeId, version: str, use: _Use, rules: BaselineRules, left_out: list[NotInBaseline]
) -> BaselineCrate:
    name, source, caret = range_id
    rows: list[NotInBaseline] = []
    facts = rules.facts(PackageId(name, version, source))
    label = f"{name}@{version}"
    features = {side: _features(label, name, use, side, facts, rules, rows) for side in Side}
    left_out += dict.fromkeys(rows)
    return BaselineCrate(
        name=name,
        range=caret,
        version=version,
        source=source,
        features_target=features[Side.TARGET],
        features_host=features[Side.HOST],
        repos=len(use.repos),
        held_back=len(_held_back(facts, use)),
    )


def _held_back(facts: CrateFacts | None, use: _Use) -> frozenset[str]:
    if facts is None or facts.rust_version is None:
        return frozenset()
    needed = rust_release(facts.rust_version)
    return frozenset(repo for repo, release in use.declared.items() if rust_release(release) < needed)


def _features(
    label: str,
    name: str,
    use: _Use,
    side: Side,
    facts: CrateFacts | None,
    rules: BaselineRules,
    rows: list[NotInBaseline],
) -> tuple[str, ...]:
    """Return the features that enough repositories use, without those that nobody gets unasked."""
    chosen = []
    users, least = use.features[side], min(rules.min_repos, len(use.repos))
    shared = {feature for feature, repos in users.items() if len(repos) >= least}
    for feature in sorted(shared):
        repos = users[feature]
        why = rules.never.why_never(name, feature, shared)
        if why is None and facts is not None and feature not in facts.features:
            why = "this version has no such feature"
        if why is None:
            chosen.append(feature)
        else:
            rows.append(_row(label, len(repos), why, feature))
    return tuple(chosen)


def _row(crate: str, repos: int, reason: str, feature: str = "") -> NotInBaseline:
    return NotInBaseline(crate=crate, feature=feature, repos=repos, reason=reason)


def _profiles(analysis: Analysis) -> tuple[BaselineProfile, ...]:
    """Return for each variant the settings that most workspaces have; of equals, those nearest to cargo's defaults."""
    found = []
    for variant in sorted(analysis.variants):
        users: dict[tuple[ProfileTable, tuple[str, ...]], list[str]] = defaultdict(list)
        for workspace in analysis.resolved:
            use = workspace.variants.get(variant)
            if use is not None and use.profile is not None:
                # What a repository sets for single packages is its own affair.
                table = ProfileTable(
                    name=use.profile.name, base=use.profile.base, build_override=use.profile.build_override, packages=()
                )
                users[table, use.rustflags].append(workspace.path)
        if not users:
            continue
        best = max(users, key=lambda one: (len(users[one]), -len(repr(one)), repr(one)))
        found.append(
            BaselineProfile(
                variant=variant,
                table=best[0],
                rustflags=best[1],
                workspaces=len(users[best]),
                others=tuple(sorted(path for one, paths in users.items() if one != best for path in paths)),
            )
        )
    return tuple(found)
