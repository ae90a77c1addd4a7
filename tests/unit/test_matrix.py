"""The matrix of toolchains and suites: what each cell's settings, tags and files are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from factory.config.cells import cells_of, chosen_cells
from factory.config.model import Settings
from factory.errors import ConfigurationError
from factory.output import Output
from factory.pipeline.run import Run

CELLS = [
    {"toolchain": "1.95.0"},
    {"toolchain": "1.95.0", "suite": "trixie"},
    {"toolchain": "1.85.1", "suite": "trixie", "image": "example.org/base:1.85.1"},
]
TAGS = ["{layer}", "{layer}-{rust}", "{layer}-{rust}-{suite}", "{layer}-{suite}-{plan}"]


def settings(**keys: object) -> Settings:
    """Return settings as a file gives them."""
    return Settings.model_validate_json(json.dumps(keys))


MATRIX = settings(matrix=CELLS, image={"tags": TAGS})


def test_every_cell_has_its_own_toolchain_suite_and_base_image() -> None:
    cells = cells_of(MATRIX)
    assert [cell.name for cell in cells] == ["1.95.0-bookworm", "1.95.0-trixie", "1.85.1-trixie"]
    assert [cell.settings.toolchain for cell in cells] == ["1.95.0", "1.95.0", "1.85.1"]
    images = [cell.settings.base_image.partition("@")[0] for cell in cells]
    assert images == ["rust:1.95.0-slim-bookworm", "rust:1.95.0-slim-trixie", "example.org/base:1.85.1"]
    assert all(cell.settings.cook == MATRIX.cook for cell in cells)


def test_no_two_cells_have_a_tag_in_common_but_for_the_plan_and_the_first_has_all() -> None:
    tags = [
        cell.settings.image.tags_of(layer="web", rust=cell.settings.toolchain, date="20261121", plan="ab12")
        for cell in cells_of(MATRIX)
    ]
    assert tags == [
        ("web", "web-1.95.0", "web-1.95.0-bookworm", "web-bookworm-ab12"),
        ("web-1.95.0-trixie", "web-trixie-ab12"),
        # {plan} is another in every cell.
        ("web-1.85.1", "web-1.85.1-trixie", "web-trixie-ab12"),
    ]


def test_without_a_matrix_there_is_one_cell_without_a_name_whose_tags_know_the_suite() -> None:
    (cell,) = cells_of(settings(image={"tags": [*TAGS, "{layer}-{label}"]}, base={"suite": "sid", "image": "base:1"}))
    assert cell.name == ""
    assert cell.settings.base.image == "base:1"
    assert cell.settings.image.tags == ("{layer}", "{layer}-{rust}", "{layer}-{rust}-sid", "{layer}-sid-{plan}")
    assert Run(settings=cell.settings, output=Output()).file(Path("out/plan.json")) == Path("out/plan.json")


def test_a_cell_with_a_label_has_its_own_variants_and_the_tags_with_a_label() -> None:
    listed = [{}, {"label": "dev", "variants": ["dev", "build:dist"]}, {"label": "front"}]
    cells = cells_of(settings(matrix=listed, image={"tags": ["{layer}", "{layer}-{rust}", "{layer}-{label}"]}))
    assert [cell.name for cell in cells] == ["1.95.0-bookworm", "1.95.0-bookworm-dev", "1.95.0-bookworm-front"]
    assert [cell.settings.cook.variants for cell in cells] == [("release",), ("dev", "dist"), ("release",)]
    tags = [cell.settings.image.tags for cell in cells]
    assert tags == [("{layer}", "{layer}-{rust}"), ("{layer}-dev",), ("{layer}-front",)]


def test_a_cell_has_files_of_its_own() -> None:
    run = Run(settings=MATRIX, output=Output(), cell="1.95.0-trixie")
    assert run.file(Path("out/plan.json")) == Path("out/plan-1.95.0-trixie.json")


def test_one_cell_can_be_chosen_and_an_unknown_one_is_refused() -> None:
    assert [cell.name for cell in chosen_cells(MATRIX, "1.85.1-trixie")] == ["1.85.1-trixie"]
    with pytest.raises(
        ConfigurationError, match=r"--cell 1\.85: the matrix has no such cell\nName one of 1\.95\.0-book"
    ):
        chosen_cells(MATRIX, "1.85")
    with pytest.raises(ConfigurationError, match="write a `matrix`"):
        chosen_cells(settings(), "1.95.0-bookworm")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"matrix": [{}, {"suite": "bookworm"}]}, r"matrix: 1\.95\.0-bookworm is there twice"),
        (
            {"matrix": [{}, {"suite": "trixie"}], "image": {"tags": ["{layer}-{rust}"]}},
            r"matrix: 1\.95\.0-trixie has no tag of its own; put {rust}, {suite} or {label} into one of image\.tags",
        ),
        ({"image": {"tags": ["{layer}-{label}"]}}, r"image\.tags: {label} is for the cells of a matrix"),
        ({"matrix": [{}], "base": {"image": "base:1"}}, r"matrix: base\.image is one image"),
    ],
)
def test_a_matrix_that_contradicts_itself_is_refused(keys: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        settings(**keys)
