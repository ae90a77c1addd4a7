"""The notation of variants, and the cargo arguments that it stands for."""

from __future__ import annotations

import re

import pytest

from factory.cargo.variants import VARIANT_PATTERN, Variant

ARGUMENTS = {
    "release": ("build", "--profile", "release"),
    "dev": ("build",),
    "dist": ("build", "--profile", "dist"),
    "check:dev": ("check",),
    "check:release": ("check", "--profile", "release"),
    "check-all:dev": ("check", "--all-targets"),
    "test:dev": ("test", "--no-run"),
    "test:release@x86_64-unknown-linux-musl": (
        *("test", "--profile", "release", "--target", "x86_64-unknown-linux-musl"),
        "--no-run",
    ),
    "release+workspace": ("build", "--profile", "release", "--workspace"),
    "check-all:dev+all-features": ("check", "--all-features", "--all-targets"),
    "test:dev+workspace+all-features@wasm32-wasip1": (
        *("test", "--target", "wasm32-wasip1", "--workspace", "--all-features"),
        "--no-run",
    ),
    "release@thumbv7em-none-eabihf": ("build", "--profile", "release", "--target", "thumbv7em-none-eabihf"),
}


@pytest.mark.parametrize("text", ARGUMENTS)
def test_a_variant_stands_for_the_arguments_of_its_consumer(text: str) -> None:
    variant = Variant.parse(text)
    assert str(variant) == text
    assert variant.args == ARGUMENTS[text]
    assert re.fullmatch(VARIANT_PATTERN, text)


def test_what_is_selected_is_said_once_and_in_one_order() -> None:
    assert str(Variant.parse("dev+all-features+workspace")) == "dev+workspace+all-features"
    assert str(Variant.parse("dev+workspace+workspace")) == "dev+workspace"


def test_build_need_not_be_said() -> None:
    assert str(Variant.parse("build:release@wasm32-unknown-unknown")) == "release@wasm32-unknown-unknown"


@pytest.mark.parametrize(
    ("text", "command"),
    [("release", "build"), ("test:dev", "build"), ("check:dev", "check"), ("check-all:dev", "check")],
)
def test_tests_stand_on_what_build_makes(text: str, command: str) -> None:
    assert Variant.parse(text).cooked_by == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "run:dev",
        "release@",
        "@x86_64-unknown-linux-gnu",
        "dev@/tmp/x",
        "dev@x.json",
        "dev@@file",
        "dev@a b",
        "dev+x",
        "dev+",
        "+workspace",
        "dev@x+workspace",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no variant; write PROFILE"):
        Variant.parse(text)
    # A target's specification may end as a triple does; that it names a file is seen only above.
    assert text == "dev@x.json" or re.fullmatch(VARIANT_PATTERN, text) is None
