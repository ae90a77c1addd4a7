"""Measures what a plan saves, beside what others warm images with: hits by count and by seconds, bytes, wall seconds.

    factory analyze REPOS --aligned aligned.json
    python -m benchmarks.plan REPOS --aligned aligned.json [--costs FILE] [--budgets MB,MB]
        [--left-out-budgets MB,MB] [--folds N] [--jobs N]
        [--sections NAME,NAME] [--out FILE]

REPOS is a folder with a folder for each repository. Nothing is cooked: the units are cargo's own (unit graphs of every
repository and of every peer, and of every repository once it meets the baseline), seconds and bytes are measured ones
where the store of costs FILE or the shipped measurements have them, and estimates otherwise, whose error is printed
with the table. Rows that begin with `bound` say what no image of that size, or none made from the others, can exceed.
With N folds, N fifths of the repositories are left out in turn: the baseline is derived from the others, and both meet
there. A fold takes minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from benchmarks.peers import analysed_peers, in_order, peer_wishes, union
from benchmarks.world import (
    COLUMNS,
    MB,
    Candidates,
    Result,
    World,
    bounds,
    candidates,
    default_profile,
    default_run,
    fitting,
    frequent,
    line,
    ours,
    price_list,
    results,
    row,
    states,
)
from factory.analysis.model import merge_units
from factory.config.layers import LayerTree, load_layer_profiles
from factory.config.model import WorthSettings
from factory.consumer.recommend import COMPRESSED
from factory.costs.estimate import how_sure
from factory.pipeline import analyzing, artefacts, meeting
from factory.planning.groups import groupings, layers_for, loads
from factory.planning.layers import homes, place_units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from factory.analysis.model import Analysis
    from factory.model import UnitKey


@dataclass(frozen=True, kw_only=True)
class Organisation(World):
    """Everything that the rows are made from: the repositories, and the peers."""

    now: Analysis
    aligned: Analysis
    """The repositories after each step onto the baseline that they have in common."""
    peers: Mapping[str, tuple[UnitKey, ...]]
    """The units of each peer, in the order in which it would give them up last."""
    unions: Mapping[frozenset[str], tuple[UnitKey, ...]]
    """For each fifth of the repositories the units of the union of all others."""


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repos", type=Path)
    parser.add_argument("--costs", type=Path, help="a SQLite store of measured costs")
    parser.add_argument("--budgets", default="500,1000,2000,4000", help="MB, separated by commas")
    parser.add_argument("--left-out-budgets", default="2000", help="those of plans made without a repository")
    parser.add_argument("--folds", type=int, choices=range(_FOLDS + 1), default=1)
    parser.add_argument("--jobs", type=int, help="jobs of the machines that build; by default those of `worth.jobs`")
    parser.add_argument("--aligned", type=Path, required=True, help="what `factory analyze --aligned` made of REPOS")
    parser.add_argument("--sections", default=",".join(_SECTIONS), help="of the answer, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/plan.md"))
    options = parser.parse_args()
    aligned = artefacts.read_analysis(options.aligned)
    world, sure = _organisation(options.repos, aligned, options.costs, options.jobs)
    lines = _head(world, sure)
    budgets, left_out = (_budgets(words) for words in (options.budgets, options.left_out_budgets))
    folds = Folds(repos=options.repos, number=options.folds)
    sections = {
        "in-plan": lambda: _in_plan(world, budgets),
        "left-out": lambda: _left_out(world, left_out),
        "folds": lambda: folds.section(world, left_out),
    }
    for name in options.sections.split(","):
        lines += sections[name]()
        # At once: the next section may take long.
        options.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    return 0


_SECTIONS = ("in-plan", "left-out", "folds")


def _budgets(words: str) -> list[int]:
    return [int(word) * MB for word in words.split(",")]


def _organisation(repos: Path, aligned: Analysis, costs: Path | None, jobs: int | None) -> tuple[Organisation, str]:
    run = default_run()
    found = analyzing.scan(run, [str(repos)])
    now = analyzing.analyze(run, found, offline=False)
    fifths = _fifths(now)
    peers = analysed_peers(run, peer_wishes(repos))
    folders = ({PurePosixPath(repo).name for repo in fifth} for fifth in fifths)
    unions = analysed_peers(run, {f"union {n}": union(repos, without=names) for n, names in enumerate(folders)})
    units = merge_units(analysis.units for analysis in (now, aligned, *peers.values(), *unions.values()))
    prices = price_list(now, costs)
    known = prices.of(units)
    return Organisation(
        now=now,
        aligned=aligned,
        peers={peer: in_order(units, analysis) for peer, analysis in peers.items()},
        unions={fifth: in_order(units, analysis) for fifth, analysis in zip(fifths, unions.values(), strict=True)},
        units=units,
        costs=known,
        prices=prices,
        jobs=jobs or run.settings.worth.jobs,
    ), how_sure({key: known[key] for key in now.units}, prices.estimator)


# The tables


def _head(world: Organisation, sure: str) -> list[str]:
    defaults = default_profile(world.now)
    repos = {workspace.repo for workspace in world.now.resolved}
    weights = ", ".join(f"{name} {world.bytes_of(keys) / MB:.0f} MB" for name, keys in world.peers.items())
    return [
        "# What a plan saves",
        "",
        f"Made by `python -m benchmarks.plan`: {len(repos)} public repositories, {len(defaults)} of them with",
        f"cargo's default release profile; rustc {world.now.toolchain.version}, builds on {world.jobs} jobs.",
        f"Hits are exact (unit keys); seconds and bytes are not: {sure}.",
        "",
        "Units and seconds are shares of those of all repositories together. Wall seconds are those that registry",
        "units take, predicted, as a mean over repositories. One image is pulled whole by everybody; of several, each",
        "repository pulls the one that `factory recommend` names, or none. Compressed, "
        f"{' and '.join(f'{part:.0%} ({name})' for name, part in COMPRESSED.items())} of the bytes are left.",
        f"Uncut, the peers weigh: {weights}.",
        "",
    ]


def _in_plan(world: Organisation, budgets: Sequence[int]) -> list[str]:
    found = candidates(world, world.now)
    rows = ["## Repositories that the plan was made from", "", COLUMNS]
    own = _own_images(world, found, budgets)
    repos, defaults = frozenset().union(*found.users.values()), default_profile(world.now)
    plain = ours(world, found, budgets, without=repos - defaults)
    limits = _Limits.of(world, world.now, budgets)
    mixed = {part: ours(world, found, budgets, unseen=part) for part in _UNSEEN}
    aligned = {
        name: (analysis, able := candidates(world, analysis), ours(world, able, budgets, unseen=_DEFAULT))
        for name, analysis in states(world.aligned).items()
    }
    aligned_limits = {name: _Limits.of(world, analysis, budgets) for name, (analysis, *_) in aligned.items()}
    for number, budget in enumerate(budgets):
        rows += [
            line(name, budget, world, fitting(world, world.peers[name], budget), world.now) for name in world.peers
        ]
        rows.append(line(_FREQUENT, budget, world, frequent(world, found, budget), world.now))
        rows += [line(_plan_name(part), budget, world, sets[number], world.now) for part, sets in mixed.items()]
        rows.append(line("factory, for default-profile repositories alone", budget, world, plain[number], world.now))
        rows.append(limits.row("bound: no image hits more than", number))
        for part in (0.0, _DEFAULT):
            rows += _layered(f"factory, unseen {part:.0%}", world, world.now, found, mixed[part][number], budget)
        rows.append(own[number])
        for name, (analysis, able, chosen) in aligned.items():
            rows.append(line(f"{name}: one image", budget, world, chosen[number], analysis))
            rows.append(aligned_limits[name].row(f"{name}: bound", number))
            rows += _layered(name, world, analysis, able, chosen[number], budget)
    return [*rows, ""]


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """What no image of each budget can hit more of: seconds of all repositories, and of those with a default profile.

    Both are reached by different images, made for that alone.
    """

    budgets: Sequence[int]
    everybody: Sequence[float]
    plain: Sequence[float]

    @classmethod
    def of(cls, world: World, analysis: Analysis, budgets: Sequence[int]) -> _Limits:
        repos, defaults = frozenset(row.repo for row in analysis.resolved), default_profile(analysis)
        return cls(
            budgets=budgets,
            everybody=bounds(world, analysis, budgets, only=repos),
            plain=bounds(world, analysis, budgets, only=defaults),
        )

    def row(self, name: str, number: int) -> str:
        budget = self.budgets[number] / MB
        shares = f"{100 * self.everybody[number]:.1f} % | {100 * self.plain[number]:.1f} %"
        return f"| {name} | {budget:.0f} | {budget:.0f} | - | {shares} | - | - |"


_DEFAULT = WorthSettings().unseen_percent / 100
_UNSEEN = tuple(sorted({0.0, 0.5, 0.8, 0.9, 1.0, _DEFAULT}))
"""Parts of the builds that are of repositories which nobody analysed; `_DEFAULT` is that of the configuration."""

_FREQUENT = "most frequent units"
_GROUPS = (5, 10, 20)
"""Numbers of groups of repositories that have a layer each; all of them alone come on top."""


def _plan_name(part: float) -> str:
    default = ", the default" if part == _DEFAULT else ""
    return f"factory, one image, unseen {part:.0%}{default}"


def _own_images(world: Organisation, found: Candidates, budgets: Sequence[int]) -> list[str]:
    """Return the rows of an image for each repository alone, each pulling its own; MB are those of the mean image."""
    repos = frozenset(workspace.repo for workspace in world.now.resolved)
    found_by_budget: list[dict[str, Result]] = [{} for _ in budgets]
    for repo in sorted(repos & frozenset().union(*found.users.values())):
        for number, keys in enumerate(ours(world, found, budgets, without=repos - {repo})):
            found_by_budget[number] |= results(world, world.now, keys, only={repo})
    defaults = default_profile(world.now)
    weights = [statistics.mean(result.bytes for result in rows.values()) for rows in found_by_budget]
    return [
        row("factory, an image for each repository", budget, weight, rows, defaults)
        for budget, weight, rows in zip(budgets, weights, found_by_budget, strict=True)
    ]


def _layered(
    name: str, world: Organisation, analysis: Analysis, found: Candidates, chosen: frozenset[UnitKey], budget: int
) -> list[str]:
    """Return rows of the same units in several images: the shipped layers, and those with layers for groups on them.

    Each repository pulls the image that `factory recommend` names, or none where none gains anything.
    """
    shipped = load_layer_profiles(None)
    candidates_ = sorted(found.users)
    placed = place_units(candidates_, graph=found.graph, users=found.users, tree=shipped)
    belong = homes(candidates_, graph=found.graph, users=found.users, tree=shipped)
    size = {key: world.costs[key].bytes for key in chosen}
    groups = groupings(
        loads(chosen, users=found.users, placements=placed, size=size),
        homes=belong,
        builds=dict.fromkeys(belong, 1.0),
        tree=shipped,
        numbers=(*_GROUPS, len(belong)),
    )
    trees = {"core, web, db": shipped}
    for number, parts in groups.items():
        trees[f"and {number} layers of groups"] = LayerTree(layers=(*shipped.layers, *layers_for(parts, shipped)))
    cold = results(world, analysis, frozenset())
    rows = []
    for what, tree in trees.items():
        placed = place_units(candidates_, graph=found.graph, users=found.users, tree=tree)
        pulled = dict(cold)
        for repo, home in belong.items():
            path = tree.path_to_root(tree.layer_naming(repo) or home)
            # The images that hold something for it: its own, and those under that.
            held = (
                frozenset(key for key in chosen if placed[key].layer in path[number:]) for number in range(len(path))
            )
            offers = [results(world, analysis, keys, only={repo})[repo] for keys in held]
            best = max(offers, key=lambda offer: (offer.gain, -offer.bytes))
            pulled[repo] = best if best.gain > 0 else cold[repo]
        rows.append(row(f"{name}: {what}", budget, world.bytes_of(chosen), pulled, default_profile(analysis)))
    return rows


def _left_out(world: Organisation, budgets: Sequence[int]) -> list[str]:
    found = candidates(world, world.now)
    rows = _Unplanned(world, budgets)
    rows.add_lists(world.now)
    aligned = {name: (analysis, candidates(world, analysis)) for name, analysis in states(world.aligned).items()}
    met = {name: _Unplanned(world, budgets) for name in aligned}
    for repo in sorted({workspace.repo for workspace in world.now.resolved}):
        unseen = frozenset({repo})
        rows.add(found, world.now, unseen)
        for name, (analysis, able) in aligned.items():
            if any(workspace.repo == repo for workspace in analysis.resolved):
                met[name].add_aligned(name, able, analysis, unseen)
        print(f"left out: {repo}", file=sys.stderr)
    return [
        "## Each repository with a plan made from the others",
        "",
        "Lists are what they were. The union has the repository in it, which flatters it; that of the others is made",
        "without a fifth of the repositories, the repository among them. Aligned: all are at one baseline, in which",
        "the repository has a part, which flatters it a little. Lists have no repositories that could meet.",
        "",
        COLUMNS,
        *rows.lines(world.now),
        *(row for name, (analysis, _) in aligned.items() for row in met[name].lines(analysis)),
        "",
    ]


class _Unplanned:
    """Results of repositories with plans that were made without them, by budget and kind of plan."""

    def __init__(self, world: Organisation, budgets: Sequence[int]) -> None:
        self._world = world
        self._budgets = budgets
        self._results: dict[tuple[int, str], dict[str, Result]] = defaultdict(dict)

    def add_lists(self, analysis: Analysis, only: frozenset[str] | None = None) -> None:
        """Add what lists do for repositories, which do not depend on the others."""
        for budget in self._budgets:
            for name, keys in self._world.peers.items():
                self._note(budget, name, analysis, fitting(self._world, keys, budget), only)
            for fifth, keys in self._world.unions.items():
                unseen = fifth if only is None else fifth & only
                self._note(budget, "union of the others", analysis, fitting(self._world, keys, budget), unseen)

    def add(self, found: Candidates, analysis: Analysis, unseen: frozenset[str]) -> None:
        """Add repositories as they are, with every kind of plan that can be made from the others."""
        for budget in self._budgets:
            self._note(budget, _FREQUENT, analysis, frequent(self._world, found, budget, without=unseen), unseen)
        for part in _UNSEEN:
            self._add_ours(_plan_name(part), found, analysis, unseen, part=part)
        self._add_bound(_EVERYTHING, found, analysis, unseen)

    def add_aligned(self, name: str, found: Candidates, analysis: Analysis, unseen: frozenset[str]) -> None:
        """Add repositories at a baseline, with plans made from others that are at it too."""
        for part in (_DEFAULT, 1.0):
            self._add_ours(f"{name}: {_plan_name(part)}", found, analysis, unseen, part=part)
        self._add_bound(f"{name}: {_EVERYTHING}", found, analysis, unseen)

    def _add_ours(
        self, name: str, found: Candidates, analysis: Analysis, unseen: frozenset[str], *, part: float
    ) -> None:
        chosen = ours(self._world, found, self._budgets, without=unseen, unseen=part)
        for budget, keys in zip(self._budgets, chosen, strict=True):
            self._note(budget, name, analysis, keys, unseen)

    def _add_bound(self, name: str, found: Candidates, analysis: Analysis, unseen: frozenset[str]) -> None:
        """Add what all units of the other repositories would do, however much they weigh."""
        others = frozenset(key for key, repos in found.users.items() if repos - unseen)
        for budget in self._budgets:
            self._note(budget, name, analysis, others, unseen)

    def _note(
        self, budget: int, name: str, analysis: Analysis, keys: AbstractSet[UnitKey], only: frozenset[str] | None
    ) -> None:
        self._results[budget, name] |= results(self._world, analysis, keys, only=only)

    def lines(self, analysis: Analysis) -> list[str]:
        """Return a row for each budget and kind of plan, the MB those of the mean plan."""
        defaults = default_profile(analysis)
        return [
            row(name, budget, statistics.mean(r.bytes for r in found.values()), found, defaults)
            for (budget, name), found in sorted(self._results.items(), key=lambda item: item[0][0])
        ]


def _fifths(analysis: Analysis) -> list[frozenset[str]]:
    """Return the repositories in five parts, beginning with that of the third one."""
    everything = sorted({workspace.repo for workspace in analysis.resolved})
    return [frozenset(everything[(number + 2) % _FOLDS :: _FOLDS]) for number in range(_FOLDS)]


_EVERYTHING = "bound: all that the others have, without a budget"
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Folds:
    """Fifths of the repositories that are left out in turn."""

    repos: Path
    number: int

    def section(self, world: Organisation, budgets: Sequence[int]) -> list[str]:
        """Let the others agree on a baseline, meet it and be planned for; then let those left out meet it as well."""
        if not self.number:
            return []
        run = default_run()
        scanned = analyzing.scan(run, [str(self.repos)])
        lines: list[str] = []
        for unseen in _fifths(world.now)[: self.number]:
            others = replace(world.now, workspaces=tuple(row for row in world.now.workspaces if row.repo not in unseen))
            met = meeting.meet_baseline(run, scanned, others, offline=False)
            lines += _fold(world.with_units(met.units), met, unseen, budgets)
        return [
            f"## {self.number} of {_FOLDS} fifths of the repositories with plans made from the others",
            "",
            "Aligned: the baseline is that of the others; both they and those left out meet it.",
            "",
            *lines,
        ]


def _fold(world: Organisation, met: Analysis, unseen: frozenset[str], budgets: Sequence[int]) -> list[str]:
    rows = _Unplanned(world, budgets)
    rows.add_lists(world.now, unseen)
    rows.add(candidates(world, world.now), world.now, unseen)
    lines = [f"Without {', '.join(sorted(unseen))}:", "", COLUMNS, *rows.lines(world.now)]
    for name, analysis in states(met).items():
        aligned = _Unplanned(world, budgets)
        aligned.add_aligned(name, candidates(world, analysis), analysis, unseen)
        lines += aligned.lines(analysis)
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
