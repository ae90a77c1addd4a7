"""`factory recommend`: seconds saved against seconds of pulling, image by image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from factory.consumer.check.forecast import Question, check
from factory.consumer.check.warm import Warm, warm_from_plan
from factory.consumer.recommend import (
    COMPRESSED,
    UNPACKED_PER_SECOND,
    Recommendation,
    recommend,
    recommendations_to_json,
)
from factory.costs.model import UnitCost
from factory.scan.discover import find_workspaces
from tests.hostile import manifest, write_files
from tests.unit.builders import organisation, plan_for
from tests.unit.unit_builder import unit

if TYPE_CHECKING:
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.model import Unit
    from factory.scan.model import Scan

MEGABYTE = 1_000_000


@pytest.fixture
def found(tmp_path: Path) -> Scan:
    write_files(tmp_path / "app", {"Cargo.toml": manifest("app"), "Cargo.lock": "version = 4\n", "src/main.rs": ""})
    return find_workspaces([tmp_path / "app"])


def analysed(found: Scan, units: list[Unit]) -> Analysis:
    known = organisation()
    use = replace(next(iter(known.workspaces[0].variants.values())), keys=tuple(sorted(one.key for one in units)))
    (place,) = found.workspaces
    row = replace(known.workspaces[0], path=place.path, repo=place.repo, variants={"release": use}, reason="")
    return replace(known, workspaces=(row,), units={one.key: one for one in units})


def warm_of(layers: dict[str, list[tuple[Unit, float, int]]]) -> Warm:
    """Layers of (unit, seconds, bytes)."""
    warm = warm_from_plan(
        plan_for({layer: [one for one, _, _ in rows] for layer, rows in layers.items()}), name="plan.json"
    )
    costs = {
        one.key: UnitCost(seconds=seconds, bytes=size, measured=True)
        for rows in layers.values()
        for one, seconds, size in rows
    }
    return replace(warm, units={key: replace(one, cost=costs[key]) for key, one in warm.units.items()})


def recommended(
    found: Scan, warm: Warm, units: list[Unit], *, bandwidth: int = 100 * MEGABYTE, compression: str = "gzip"
) -> Recommendation:
    costs = {key: one.cost for key, one in warm.units.items()}
    costs |= {one.key: UnitCost(seconds=1.0, bytes=1, measured=False) for one in units if one.key not in costs}
    report = check(found, analysed(found, units), warm, Question(), costs=costs, jobs=1)
    (only,) = recommend(report, warm, bandwidth=bandwidth, compression=compression)
    return only


def test_the_image_with_all_of_it_wins_where_pulling_is_cheap(found: Scan) -> None:
    base, web = unit("base"), unit("web")
    warm = warm_of({"core": [(base, 10.0, 10 * MEGABYTE)], "web": [(web, 20.0, 20 * MEGABYTE)]})
    answer = recommended(found, warm, [base, web])
    core, both = answer.offers
    assert (core.image, core.hit.units, both.image, both.hit.units) == ("core", 1, "web", 2)
    assert core.saved == pytest.approx(10.0)
    assert both.saved == pytest.approx(30.0)
    assert both.pulled == round(30 * MEGABYTE * COMPRESSED["gzip"])
    pull = 30 * MEGABYTE * (COMPRESSED["gzip"] / (100 * MEGABYTE) + 1 / UNPACKED_PER_SECOND)
    assert both.gain == pytest.approx(30.0 - pull)
    assert answer.best == both


def test_less_is_pulled_of_layers_that_are_compressed_better(found: Scan) -> None:
    base = unit("base")
    warm = warm_of({"core": [(base, 10.0, 10 * MEGABYTE)]})
    (offer,) = recommended(found, warm, [base], compression="zstd").offers
    assert offer.pulled == round(10 * MEGABYTE * COMPRESSED["zstd"]) < 10 * MEGABYTE * COMPRESSED["gzip"]


def test_a_heavy_layer_that_saves_little_is_not_recommended(found: Scan) -> None:
    base, web = unit("base"), unit("web")
    warm = warm_of({"core": [(base, 10.0, 10 * MEGABYTE)], "web": [(web, 1.0, 900 * MEGABYTE)]})
    best = recommended(found, warm, [base, web]).best
    assert best is not None
    assert best.image == "core"


def test_of_images_that_save_the_same_the_lighter_is_recommended(found: Scan) -> None:
    base, web = unit("base"), unit("web")
    warm = warm_of({"core": [(base, 10.0, MEGABYTE)], "web": [(web, 10.0, MEGABYTE)]})
    best = recommended(found, warm, [base]).best
    assert best is not None
    assert best.image == "core"


def test_nothing_is_recommended_where_pulling_takes_longer_than_compiling(found: Scan) -> None:
    base = unit("base")
    warm = warm_of({"core": [(base, 1.0, 10 * MEGABYTE)]})
    assert recommended(found, warm, [base], bandwidth=MEGABYTE).best is None
    assert recommended(found, warm, [unit("other")]).best is None


def test_several_variants_are_weighed_by_themselves_and_together(found: Scan) -> None:
    """Each of them saves less than what is pulled costs, and both save more, as it is pulled once."""
    base = unit("base")
    warm = replace(warm_of({"core": [(base, 10.0, 10 * MEGABYTE)]}), variants=("dev", "release", "wasm"))
    analysis = analysed(found, [base])
    (row,) = analysis.workspaces
    use = row.variants["release"]
    row = replace(row, variants={"dev": use, "release": use, "wasm": replace(use, keys=())})
    costs = {key: one.cost for key, one in warm.units.items()}
    report = check(found, replace(analysis, workspaces=(row,)), warm, Question(), costs=costs, jobs=1)

    dev, release, both = recommend(report, warm, bandwidth=MEGABYTE // 5, compression="gzip")

    assert (dev.variant, release.variant, both.variant) == ("dev", "release", "each once")
    assert dev.best is None
    assert release.best is None
    assert both.offers[0].saved == pytest.approx(20.0)
    assert both.offers[0].pulled == dev.offers[0].pulled
    assert both.best is not None
    assert {one.platform for one in (dev, release, both)} == {warm.toolchain.host}


def test_a_repository_without_units_is_told_so(found: Scan) -> None:
    answer = recommended(found, warm_of({"core": [(unit("base"), 1.0, MEGABYTE)]}), [])
    assert (answer.best, answer.problem) == (None, "compiles nothing that comes from a registry")


def test_the_document_names_the_best(found: Scan) -> None:
    base = unit("base")
    warm = warm_of({"core": [(base, 10.0, MEGABYTE)]})
    document = recommendations_to_json([recommended(found, warm, [base])])
    (row,) = document["repos"]
    assert (document["schema"], row["best"], row["units"]) == (1, "core", {"total": 1})
    assert row["offers"][0]["seconds"]["hit"] == pytest.approx(10.0)
