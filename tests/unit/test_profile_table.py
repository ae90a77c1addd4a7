from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from factory.cargo.profile_table import derive_profile_table, manifest_value
from factory.model import Mode, Side
from tests.unit.unit_builder import DEV, DEV_HOST, RELEASE, RELEASE_HOST, package, unit

if TYPE_CHECKING:
    from factory.cargo.profile_table import ProfileTable
    from factory.model import CargoProfile, Unit

HOST = (Side.HOST,)


def table(target: CargoProfile = RELEASE, host: CargoProfile = RELEASE_HOST, *more: Unit) -> ProfileTable:
    """Return the table for three crates on the target side and two on the host side."""
    units = [unit(name, profile=target) for name in ("a", "b", "c")]
    units += [unit(name, sides=HOST, profile=host) for name in ("d", "e")]
    return derive_profile_table([*units, *more])


def test_cargos_defaults_need_no_settings() -> None:
    release, dev = table(), table(DEV, DEV_HOST)

    assert (release.name, release.base, release.build_override, release.packages) == ("release", (), (), ())
    assert (dev.name, dev.base, dev.build_override, dev.packages) == ("dev", (), (), ())


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"opt_level": "s"}, {"opt-level": "s"}),
        ({"codegen_units": 1}, {"codegen-units": 1}),
        ({"panic": "abort"}, {"panic": "abort"}),
        ({"split_debuginfo": "packed"}, {"split-debuginfo": "packed"}),
    ],
)
def test_what_holds_for_the_target_side_is_in_the_base(changes: dict[str, object], settings: dict[str, object]) -> None:
    host = {key: value for key, value in changes.items() if key == "split_debuginfo"}

    found = table(replace(RELEASE, **changes), replace(RELEASE_HOST, **host))  # type: ignore[arg-type]

    assert dict(found.base) == settings
    assert found.build_override == ()


@pytest.mark.parametrize("lto", ["true", "thin", "fat", "off"])
def test_lto_holds_for_both_sides(lto: str) -> None:
    assert table(replace(RELEASE, lto=lto), replace(RELEASE_HOST, lto=lto)).base == (("lto", lto),)


def test_strip_by_hand_is_written_and_cargos_own_is_not() -> None:
    by_hand = table(replace(RELEASE, strip="symbols"), replace(RELEASE_HOST, strip="symbols"))
    kept = table(replace(RELEASE, strip="none"), replace(RELEASE_HOST, strip="none"))

    assert by_hand.base == (("strip", "symbols"),)
    assert kept.base == (("strip", "none"),)


def test_debug_information_of_the_host_side_is_cargos_to_drop() -> None:
    target = replace(RELEASE, debuginfo="1", strip="none")

    found = table(target, replace(RELEASE_HOST, strip="none"))

    assert found.base == (("debug", "1"),)
    assert found.build_override == ()


def test_debug_information_dropped_by_hand_is_an_override() -> None:
    target = replace(RELEASE, debuginfo="1", strip="none")

    found = table(target, replace(RELEASE_HOST, strip="debuginfo"))

    assert (found.base, found.build_override) == ((("debug", "1"),), (("debug", "0"),))


def test_what_differs_on_the_host_side_is_an_override() -> None:
    found = table(RELEASE, replace(RELEASE_HOST, opt_level="3", codegen_units=16))

    assert found.base == ()
    assert dict(found.build_override) == {"codegen-units": 16, "opt-level": "3"}


def test_one_crate_that_differs_has_a_table_of_its_own() -> None:
    odd = unit("odd", version="2.1.0", profile=replace(RELEASE, opt_level="1"))

    found = table(RELEASE, RELEASE_HOST, odd)

    assert found.base == ()
    assert found.packages == ((package("odd", "2.1.0"), (("opt-level", "1"),)),)
    assert found.for_packages(frozenset({package("a")})).packages == ()


def test_runs_of_build_scripts_say_nothing() -> None:
    run = unit("r", mode=Mode.RUN_CUSTOM_BUILD, profile=replace(RELEASE, opt_level="z", panic="abort"))

    assert table(RELEASE, RELEASE_HOST, run) == table()


def test_host_side_alone_gives_what_links_it() -> None:
    lonely = derive_profile_table([unit("a", sides=HOST, profile=replace(RELEASE_HOST, lto="fat"))])

    assert lonely.base == (("lto", "fat"),)


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("opt-level", "3", 3),
        ("opt-level", "s", "s"),
        ("debug", "1", 1),
        ("debug", "line-tables-only", "line-tables-only"),
        ("lto", "true", True),
        ("lto", "false", False),
        ("lto", "thin", "thin"),
        ("codegen-units", 16, 16),
    ],
)
def test_values_are_written_as_manifests_have_them(key: str, value: object, written: object) -> None:
    assert manifest_value(key, value) == written
    assert type(manifest_value(key, value)) is type(written)
