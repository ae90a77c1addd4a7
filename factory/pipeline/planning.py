"""From what is compiled to what is worth cooking."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from itertools import count, takewhile
from typing import TYPE_CHECKING

from factory.analysis.model import original_path
from factory.cargo.ask_index import refresh_index
from factory.cargo.index_cache import CrateIndex
from factory.config.access import fetching
from factory.config.layers import load_layer_profiles, profile_files
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError
from factory.files import write_text
from factory.model import CRATES_IO
from factory.pipeline.artefacts import read_analysis, read_plan
from factory.pipeline.costing import costs_of_analysis
from factory.pipeline.toolchains import resolving
from factory.planning.agreement import agreement
from factory.planning.baseline_rules import BaselineRules, derive_baseline
from factory.planning.behaviour import read_behaviour_features
from factory.planning.choose import Policy, choose
from factory.planning.explain import explain_crate
from factory.planning.make_plan import RecipeCheck, make_plan
from factory.planning.propose import possible_numbers, profile_text, propose
from factory.report.figures import figures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.cargo.toolchain import Toolchain
    from factory.config.layers import LayerTree
    from factory.model import PackageId
    from factory.pipeline.run import Run
    from factory.planning.baseline import Baseline
    from factory.planning.choose import Choice
    from factory.planning.explain import Explanation
    from factory.planning.plan import Plan
    from factory.planning.propose import Proposal
    from factory.report.figures import Figures


def plan(
    run: Run,
    analysis: Analysis,
    tree: LayerTree,
    *,
    baseline: bool = True,
    agreed: bool = True,
    as_it_is: Analysis | None = None,
) -> Plan:
    """Choose what to cook; raise `BadAnswerError` where no registry unit is left to choose.

    With `baseline`, the plan has what repositories can move to, and with `agreed` what these would gain by it: those
    of `as_it_is`, where `analysis` has repositories at the baseline as well.
    """
    budget = run.settings.budget
    run.output.say(
        f"filling {100 - budget.safety_percent} % of every budget, as sizes are estimates: "
        f"{budget.plannable(budget.total) / 1e6:.0f} MB of budget.total, {budget.total / 1e6:.0f} MB"
    )
    choice = _choose(run, analysis, tree)
    cargo_home, toolchain = resolving(run, analysis.toolchain.version)
    if toolchain.rustc_verbose != analysis.toolchain.rustc_verbose:
        raise EnvironmentFaultError(
            "the analysis was made with another build of rustc than the one found now",
            advice="Run `factory analyze` again.",
        )
    check = RecipeCheck(toolchain=toolchain, cargo_home=cargo_home, jobs=run.jobs)
    with run.output.counter("confirming recipes") as progress:
        made = make_plan(choice, check, progress=progress)
    if not made.units:
        reasons = "; ".join(sorted({row.reason for row in made.excluded})[:5])
        raise BadAnswerError(f"no unit can be planned: {reasons}", advice="Look at budgets and `min_repos`.")
    if not baseline:
        return made
    meeting = baseline_of(run, as_it_is or analysis, toolchain, cargo_home)
    gains = agreement(as_it_is or analysis, meeting, choice.costs) if agreed else None
    return replace(made, baseline=meeting, agreement=gains)


def explain(run: Run, analysis: Analysis, profiles: Path | None, crate: str, made: Plan | None) -> Explanation:
    """Explain every unit of a crate (`NAME` or `NAME@VERSION`): what is planned, and what kept the rest out.

    `made` is the plan of this analysis, where there is one: it knows what cargo did not confirm. Raises
    `ConfigurationError` where no repository uses the crate.
    """
    return explain_crate(_choose(run, analysis, load_layer_profiles(profiles)), crate, made)


def propose_layers(run: Run, analysis: Analysis, profiles: Path | None, groups: int | None) -> tuple[Proposal, ...]:
    """Return the layers as they are, and with a layer for each of so many groups of repositories, or several numbers.

    Raises `ConfigurationError` where there cannot be so many groups.
    """
    choice = _choose(run, analysis, load_layer_profiles(profiles))
    if groups is not None:
        return propose(choice, {groups})
    least, most = possible_numbers(choice)
    doubled = takewhile(lambda number: number < most, (2**power for power in count()))
    return propose(choice, {least, most, *(number for number in doubled if number > least)})


def write_profiles(folder: Path, profiles: Path | None, proposal: Proposal) -> None:
    """Write the profiles that are there and those of the proposed layers into a new or an empty directory."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already", advice="Name a new directory: nothing is overwritten.")
    for file in profile_files(profiles):
        write_text(folder / file.name, file.read_text(encoding="utf-8"))
    for layer in proposal.added:
        write_text(folder / f"{layer.name}.toml", profile_text(layer))


def report(
    run: Run, analysis: Path, plan: Path, *, earlier: Sequence[Path], profiles: Path | None, most_crates: int
) -> Figures:
    """Compute the figures of a report on a plan; raise `ConfigurationError` where it is for another compiler."""
    now, made = read_analysis(analysis), read_plan(plan)
    if made.contract.toolchain != now.toolchain:
        raise ConfigurationError(
            f"{plan} is for rustc {made.contract.toolchain.version}, {analysis} for {now.toolchain.version} or another "
            "build of it",
            advice="Run `factory plan` on this analysis.",
        )
    known = {row.path for row in now.workspaces}
    strangers = sorted({row.path for row in made.forecast if original_path(row.path, row.aligned) not in known})
    if strangers:
        run.output.warn(
            f"{plan} forecasts {len(strangers)} workspaces that {analysis} has not, {strangers[0]} for one: the page "
            "shows figures of both"
        )
    others = [(path.stem, read_analysis(path)) for path in earlier]
    return figures(
        _choose(run, now, load_layer_profiles(profiles)), made, others, name=analysis.stem, most_crates=most_crates
    )


def _choose(run: Run, analysis: Analysis, tree: LayerTree) -> Choice:
    if not analysis.units:
        raise BadAnswerError("the analysis holds no registry unit", advice="See what `factory analyze` skipped.")
    settings = run.settings
    budgets = {profile.name: profile.budget_bytes for profile in tree.layers}
    policy = Policy(
        tree=tree,
        # Sizes are estimates until something was cooked: part of every budget stays free.
        total_budget=settings.budget.plannable(settings.budget.total),
        layer_budgets={name: size and settings.budget.plannable(size) for name, size in budgets.items()},
        cargo_home=settings.contract.cargo_home,
        build_dir=settings.contract.build_dir,
        rustflags=settings.contract.rustflags,
        costs=costs_of_analysis(run, analysis),
        jobs=settings.worth.jobs,
        unseen=settings.worth.unseen_percent / 100,
        suite=settings.base.suite,
        sources=fetching(settings).cookable,
    )
    choice = choose(analysis, policy)
    if find_spec("scipy") is None:
        run.output.say("selection: greedy, as scipy is not installed: pip install 'rust-warm-factory[exact]'")
    return choice


def baseline_of(
    run: Run, analysis: Analysis, toolchain: Toolchain, cargo_home: Path, *, offline: bool = False
) -> Baseline:
    """Return the point at which the repositories of an analysis could meet."""
    settings = run.settings.baseline
    facts = CrateIndex(cargo_home)
    # An analysis of another machine: without the index, what was yanked or needs a newer rustc would be chosen.
    unknown = [package for package in _packages(analysis) if not facts.versions(package.name)]
    problem = "offline" if offline and unknown else refresh_index(unknown, toolchain=toolchain, cargo_home=cargo_home)
    if problem:
        run.output.warn(f"the baseline knows neither yanks nor `rust-version` of {len(unknown)} crates: {problem}")
    rules = BaselineRules(
        min_repos=settings.min_repos,
        msrv_share=settings.msrv_percent / 100,
        never=read_behaviour_features(),
        facts=facts,
        versions=facts.versions,
    )
    return derive_baseline(analysis, rules)


def _packages(analysis: Analysis) -> list[PackageId]:
    """Return those of crates.io that an analysis has units of."""
    return sorted(package for package in analysis.packages if package.source == CRATES_IO)
