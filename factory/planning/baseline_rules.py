"""Derives the baseline from an analysis: rules about versions, features and cargo profiles, each with its reasons."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import semver

from factory.cargo.profile_table import ProfileTable
from factory.model import PackageId, Side
from factory.planning.baseline import Baseline, BaselineCrate, BaselineProfile, NotInBaseline, caret_range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from factory.analysis.model import Analysis
    from factory.cargo.index_cache import CrateFacts
    from factory.model import Unit
    from factory.planning.behaviour import BehaviourFeatures

RangeId = tuple[str, str, str]
"""Name, source and semver range of a crate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRules:
    """What the baseline goes by.

    A crate's range, and a feature of it, is in where at least `min_repos` repositories use it; a version where at least
    `msrv_share` of the range's repositories may take it by their `rust-version`. `facts` is what the registry says of a
    package, `None` for what is not known.
    """

    min_repos: int
    msrv_share: float
    never: BehaviourFeatures
    facts: Callable[[PackageId], CrateFacts | None]


def derive_baseline(analysis: Analysis, rules: BaselineRules) -> Baseline:
    """Return the baseline of all resolved workspaces; the same for whatever order they come in."""
    crates: list[BaselineCrate] = []
    left_out: list[NotInBaseline] = []
    for range_id, use in sorted(_uses(analysis).items()):
        if len(use.repos) < rules.min_repos:
            continue
        made, rows = _crate(range_id, use, rules)
        left_out += rows
        if made is not None:
            crates.append(made)
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
    """Who uses a range: repositories by version, and by side and feature.

    `declared` has the lowest `rust-version` of a repository's workspaces that use it: what others of its workspaces,
    such as fixtures of tests, declare holds nobody back.
    """

    versions: Mapping[str, set[str]]
    features: Mapping[Side, Mapping[str, set[str]]]
    declared: dict[str, str]

    @property
    def repos(self) -> frozenset[str]:
        return frozenset().union(*self.versions.values())


def _uses(analysis: Analysis) -> dict[RangeId, _Use]:
    found: dict[RangeId, _Use] = {}
    for workspace in analysis.resolved:
        for key in {key for use in workspace.variants.values() for key in use.keys}:
            unit = analysis.units[key]
            if not unit.is_library:
                continue
            use = found.setdefault(
                range_of(unit), _Use(defaultdict(set), {side: defaultdict(set) for side in Side}, {})
            )
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


def _crate(range_id: RangeId, use: _Use, rules: BaselineRules) -> tuple[BaselineCrate | None, list[NotInBaseline]]:
    name, source, caret = range_id
    rows: list[NotInBaseline] = []
    version = _version(range_id, use, rules, rows)
    if version is None:
        return None, rows
    facts = rules.facts(PackageId(name, version, source))
    features = {side: _features(f"{name}@{version}", name, use.features[side], facts, rules, rows) for side in Side}
    return (
        BaselineCrate(
            name=name,
            range=caret,
            version=version,
            source=source,
            features_target=features[Side.TARGET],
            features_host=features[Side.HOST],
            repos=len(use.repos),
            held_back=len(_held_back(facts, use)),
        ),
        list(dict.fromkeys(rows)),
    )


def _version(range_id: RangeId, use: _Use, rules: BaselineRules, rows: list[NotInBaseline]) -> str | None:
    """Return the newest version in use that is not yanked and that enough repositories may take."""
    name, source, _ = range_id
    repos = use.repos
    may_take: dict[str, int] = {}
    for version in sorted(use.versions, key=semver.Version.parse, reverse=True):
        facts = rules.facts(PackageId(name, version, source))
        label = f"{name}@{version}"
        if facts is not None and facts.yanked:
            rows.append(_row(label, len(use.versions[version]), "yanked"))
            continue
        able = len(repos) - len(_held_back(facts, use))
        if able >= rules.msrv_share * len(repos):
            return version
        needs = facts.rust_version if facts is not None else None
        rows.append(_row(label, len(use.versions[version]), f"needs rustc {needs}, which too many repositories forbid"))
        may_take[version] = able
    # None satisfies enough of them: the one that most can take, the newest of several.
    return max(may_take, key=lambda version: (may_take[version], semver.Version.parse(version)), default=None)


def _held_back(facts: CrateFacts | None, use: _Use) -> frozenset[str]:
    if facts is None or facts.rust_version is None:
        return frozenset()
    needed = rust_release(facts.rust_version)
    return frozenset(repo for repo, release in use.declared.items() if rust_release(release) < needed)


def _features(
    label: str,
    name: str,
    users: Mapping[str, set[str]],
    facts: CrateFacts | None,
    rules: BaselineRules,
    rows: list[NotInBaseline],
) -> tuple[str, ...]:
    """Return the features that enough repositories use, without those that nobody gets unasked."""
    chosen = []
    for feature, repos in sorted(users.items()):
        if len(repos) < rules.min_repos:
            continue
        why = rules.never.why_never(name, feature)
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
