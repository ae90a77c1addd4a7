"""`factory report`: the figures add up, the page needs nothing else and escapes names, the drawings are exact."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.costs.model import UnitCost
from factory.planning.agreement import Agreement, CrateAgreement, Shared, SharedByWorkspace
from factory.planning.choose import Policy, choose
from factory.planning.plan import Forecast
from factory.report.drawing import polyline, treemap
from factory.report.figures import Figures, figures, figures_to_json
from factory.report.page import page
from tests.unit.builders import chain, organisation, plan_for

if TYPE_CHECKING:
    from factory.analysis.model import Analysis
    from factory.planning.plan import Plan

TREE = chain("core", "web", "db", web="axum", db="sqlx")
NASTY = "<script>alert('x')</script>"


def planned(analysis: Analysis) -> Plan:
    """All units of an organisation in one layer, with a forecast for its first repository."""
    plan = plan_for({"core": sorted(analysis.units.values(), key=lambda one: one.key)})
    forecast = Forecast(
        path="app",
        repo="app",
        variant="release",
        total=2,
        hits={"core": 1},
        seconds_total=4.0,
        seconds_hit={"core": 2.0},
        jobs=2,
        wall_cold=3.0,
        wall_warm={"core": 1.0},
    )
    return replace(plan, forecast=(forecast,))


def made(analysis: Analysis, *, others: list[tuple[str, Analysis]] | None = None) -> Figures:
    choice = choose(
        analysis,
        Policy(
            tree=TREE,
            total_budget=10**12,
            layer_budgets={profile.name: None for profile in TREE.layers},
            cargo_home="/usr/local/cargo",
            build_dir="/build",
            rustflags=(),
            costs={key: UnitCost(seconds=2.0, bytes=10_000_000, measured=True) for key in analysis.units},
            jobs=2,
        ),
    )
    return figures(choice, planned(organisation()), others or [], name="today", most_crates=3)


def test_the_coverage_grows_with_the_budget_to_all_that_can_be_cooked() -> None:
    rows = made(organisation()).coverage
    assert [row.budget for row in rows] == sorted(row.budget for row in rows)
    assert all(one.seconds <= two.seconds for one, two in itertools.pairwise(rows))
    assert rows[-1].units == rows[-1].seconds == 1.0


def test_the_sizes_of_layers_are_those_of_the_plan() -> None:
    plan = planned(organisation())
    for layer, known in zip(made(organisation()).layers, plan.layers, strict=True):
        assert layer.bytes == sum(plan.units[key].cost.bytes for key in known.keys)
        assert layer.bytes == sum(size for _, size in layer.crates)


def test_drift_is_told_of_several_analyses_only() -> None:
    analysis = organisation()
    assert made(analysis).ages == ()
    one, two = made(analysis, others=[("before", replace(analysis, workspaces=analysis.workspaces[:1]))]).ages
    assert (one.name, one.in_first, two.name) == ("before", 1.0, "today")
    assert two.in_first < 1.0


def test_the_figures_are_json() -> None:
    document = figures_to_json(made(organisation()))
    assert document["schema"] == 1
    assert json.loads(json.dumps(document))["repos"] == document["repos"]


class _Reader(HTMLParser):
    """Notes every attribute that would fetch something, and every script."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" or {"src", "href"} & {name for name, _ in attrs}:
            self.foreign.append(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A drawing's shapes."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_is_well_formed() -> None:
    reader = _Reader()
    text = page(made(organisation(), others=[("before", organisation())]))
    reader.feed(text)
    assert (reader.foreign, reader.open) == ([], [])
    assert "url(" not in text
    assert "Drift" in text


def agreed(analysis: Analysis) -> Figures:
    """Figures with an agreement: one workspace that gains all by the versions, one crate to agree on."""
    none, all_of_it = Shared(units=0, seconds=0.0), Shared(units=2, seconds=4.0)
    row = SharedByWorkspace(
        path="app", repo="app", total=all_of_it, as_is=none, versions=all_of_it, features=all_of_it, profile=all_of_it
    )
    crate = CrateAgreement(
        crate="syn",
        range="2",
        version="2.0.117",
        versions=7,
        feature_sets=3,
        repos=2,
        add=("full",),
        blocked=31.0,
        alone=17.0,
        together=17.0,
    )
    return replace(made(analysis), agreement=Agreement(crates=(crate,), workspaces=(row,)))


def test_what_agreeing_would_bring_is_on_the_page_and_in_the_figures() -> None:
    found = agreed(organisation())
    text = page(found)
    row = re.search(r'<th scope="row">app</th><td class="n">4</td>(.*)</tr>', text)
    assert row is not None
    assert re.findall(r"\d+ %", row[1]) == ["0 %", "100 %", "100 %", "100 %"]
    assert "add where lacking: full" in text
    document = json.loads(json.dumps(figures_to_json(found)))
    assert document["agreement"]["crates"][0]["blocked"] == 31.0
    assert "agreeing" not in page(made(organisation()))


def test_a_thousand_workspaces_stay_readable_and_none_is_lost_from_the_figures() -> None:
    found = made(organisation())
    idle = replace(found.savings[0], path="idle", units=0)
    many = replace(found, savings=(*(replace(found.savings[0], path=f"repo-{n}") for n in range(1000)), idle))
    text = page(many)
    assert len(re.findall(r'<th scope="row">repo-', text)) == 200
    assert "800 more" in text
    assert "1 workspaces compile nothing" in text
    assert len(figures_to_json(many)["savings"]) == 1001


def test_budgets_along_the_axis_and_names_in_boxes_leave_each_other_room() -> None:
    found = made(organisation())
    places = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="258.0" text-anchor="middle">', page(found))]
    assert len(places) >= 4
    assert all(one - other >= 30 for one, other in itertools.pairwise(places))
    long = replace(found.layers[0], crates=(("a" * 300, 10), ("b", 10)))
    assert re.search(r">a{20,80}…</text>", page(replace(found, layers=(long,))))


def test_names_from_repositories_are_escaped() -> None:
    found = made(organisation())
    nasty = replace(found, savings=(replace(found.savings[0], path=NASTY),))
    assert NASTY not in page(nasty)
    assert "&lt;script&gt;" in page(nasty)


@given(st.lists(st.floats(min_value=0.1, max_value=1e9), min_size=1, max_size=80))
def test_a_treemap_fills_its_rectangle_in_proportion(values: list[float]) -> None:
    boxes = treemap([(str(number), value) for number, value in enumerate(values)], x=5, y=7, width=300, height=200)
    assert len(boxes) == len(values)
    total = sum(values)
    for box in boxes:
        assert box.width * box.height == pytest.approx(60_000 * box.value / total, rel=1e-6)
        assert box.x >= 5 - 1e-6
        assert box.x + box.width <= 305 + 1e-6
        assert box.y + box.height <= 207 + 1e-6


def test_what_weighs_nothing_has_no_box() -> None:
    assert treemap([("a", 0)], x=0, y=0, width=1, height=1) == []


def test_a_line_starts_at_the_lower_left() -> None:
    points = polyline([(0, 0), (10, 1)], width=100, height=50, most=10)
    assert re.fullmatch(r"0\.0,50\.0 100\.0,0\.0", points)
