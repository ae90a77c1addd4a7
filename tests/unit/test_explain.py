"""Worth, the choice and its explanation: an organisation's units with what they save whom, and why they are out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from factory import tables
from factory.config.layers import LayerTree
from factory.costs.model import UnitCost
from factory.errors import ConfigurationError
from factory.output import Output
from factory.planning.choose import Choice, Policy, choose
from factory.planning.explain import UnitExplanation, explain_crate, explanation_to_json
from factory.planning.plan import Exclusion
from factory.planning.wall import BuildModel
from factory.planning.worth import savings
from tests.unit.builders import chain, organisation, plan_for

if TYPE_CHECKING:
    from factory.analysis.model import Analysis

TREE = chain("core", "web", "db", web="axum", db="sqlx")
PLENTY = 10**12


def choice(analysis: Analysis, *, total: int = PLENTY, tree: LayerTree = TREE, seconds: float = 2.0) -> Choice:
    """Choose where every unit takes the same seconds and weighs 10 MB, measured."""
    return choose(
        analysis,
        Policy(
            tree=tree,
            total_budget=total,
            layer_budgets={profile.name: None for profile in tree.layers},
            cargo_home="/usr/local/cargo",
            build_dir="/build",
            rustflags=(),
            costs={key: UnitCost(seconds=seconds, bytes=10_000_000, measured=True) for key in analysis.units},
            jobs=2,
        ),
    )


def explained(made: Choice, crate: str) -> UnitExplanation:
    (row,) = explain_crate(made, crate, None).units
    return row


# Worth


def test_what_a_repository_saves_adds_up_to_its_wall_seconds_as_often_as_it_is_built() -> None:
    analysis = organisation()
    often = tuple(replace(w, builds=5.0) if w.repo == "web" else w for w in analysis.workspaces)
    analysis = replace(analysis, workspaces=often)
    costs = {key: UnitCost(seconds=2.0, bytes=1, measured=True) for key in analysis.units}
    saved = savings(analysis, costs=costs, jobs=2)
    for workspace in analysis.resolved:
        model = BuildModel(workspace.variants["release"].keys, units=analysis.units, costs=costs)
        share = sum(by_repo.get(workspace.repo, 0.0) for by_repo in saved.values())
        assert share == pytest.approx(model.wall_seconds(2) * workspace.builds)


def test_what_is_built_more_often_is_chosen_first() -> None:
    analysis = organisation()
    # Room for what all have, serde_derive and serde, and one more.
    for repo, crate in (("cli", "clap"), ("web", "hyper")):
        often = tuple(replace(w, builds=50.0 if w.repo == repo else 1.0) for w in analysis.workspaces)
        made = choice(replace(analysis, workspaces=often), total=30_000_000)
        names = {made.graph.units[key].package.name for key in made.selection.chosen}
        assert names == {"serde_derive", "serde", crate}


# Explained


def test_a_planned_unit_is_told_with_layer_cost_and_what_it_saves_whom() -> None:
    row = explained(choice(organisation()), "axum")
    assert (row.planned, row.layer, row.why) == (True, "web", "its closure holds axum, an anchor of web")
    assert (row.seconds, row.bytes, row.measured) == (2.0, 10_000_000, True)
    assert (row.repos, list(row.saves), row.features) == (("web",), ["web"], ("http2", "json", "ws"))
    assert row.saves["web"] > 0


def test_what_is_over_the_budget_is_told_with_its_density_and_the_cut() -> None:
    row = explained(choice(organisation(), total=20_000_000), "AXUM")
    assert not row.planned
    # It would have to bring hyper along.
    assert row.why.startswith("over the budget: worth ")
    assert row.why.endswith(" s for 20.0 MB, with 1 more that it needs")
    assert row.density is not None
    assert row.cut is not None
    assert 0 < row.density <= row.cut


def test_policies_are_told_as_reasons() -> None:
    rare = LayerTree(layers=tuple(replace(p, min_repos=2, never=frozenset({"clap"})) for p in TREE.layers))
    made = choice(organisation(), tree=rare)
    assert explained(made, "clap").why == "a layer's profile says never"
    assert explained(made, "axum").why == "used by fewer repositories than the layer's profile asks for"
    assert explained(made, "serde").planned


def test_what_cargo_did_not_confirm_is_not_called_planned() -> None:
    made = choice(organisation())
    plan = replace(
        plan_for({"core": []}),
        excluded=(Exclusion(package="clap@1.0.0", reason="cargo resolves it otherwise", units=1, repos=1),),
    )
    (row,) = explain_crate(made, "clap", plan).units
    assert (row.planned, row.why) == (False, "cargo resolves it otherwise")


def test_a_version_picks_and_what_nobody_uses_is_an_error_with_what_is_near() -> None:
    made = choice(organisation())
    assert [row.unit for row in explain_crate(made, "hyper@2.0.0", None).units] == ["hyper@2.0.0 (lib)"]
    with pytest.raises(ConfigurationError) as version:
        explain_crate(made, "hyper@1.0.0", None)
    assert version.value.advice == "In use are 2.0.0."
    with pytest.raises(ConfigurationError) as name:
        explain_crate(made, "hypr", None)
    assert name.value.advice == "Did you mean hyper?"


def test_an_explanation_is_printed_and_has_a_json_form(capsys: pytest.CaptureFixture[str]) -> None:
    explanation = explain_crate(choice(organisation()), "serde", None)
    tables.print_explanation(explanation, Output())
    out, err = capsys.readouterr()
    assert "serde@1.0.0 (lib)  [alloc, derive, std]  target, " in out
    assert "  2.0 s to compile, 10.0 MB; saves " in out
    assert "  in core: no anchor below it; used by repositories of core, db, web" in out
    assert "What the planned ones save (3 of 3 repositories)" in out
    assert "factory plan" in err
    document = explanation_to_json(explanation)
    assert (document["schema"], document["crate"], document["confirmed"]) == (1, "serde", False)
    assert set(document["units"][0]["saves"]) == {"cli", "db", "web"}
