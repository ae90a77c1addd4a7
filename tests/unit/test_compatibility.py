"""Which versions replace one another, and which cannot stand side by side."""

from __future__ import annotations

import pytest

from factory.cargo.compatibility import caret_range, resolver_slot


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.0.219", "1"),
        ("2.0.0", "2"),
        ("0.12.3", "0.12"),
        ("0.0.3", "0.0.3"),
        ("0.0.0", "0.0.0"),
        ("1.0.0-rc.1", "1.0.0-rc.1"),
        ("0.7.1+5.3.1-0-g81034ce", "0.7"),
    ],
)
def test_range_is_that_in_which_cargo_lets_versions_stand_for_each_other(version: str, expected: str) -> None:
    assert caret_range(version) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.3", "1"),
        ("0.4.29", "0.4"),
        ("0.0.7", "0.0.7"),
        ("0.0.0", "0.0.0"),
        ("10.0.0-rc.1", "10"),
        ("2.0.16+zstd.1.5.7", "2"),
    ],
)
def test_slot_is_what_cargo_fills_with_one_version(version: str, expected: str) -> None:
    assert resolver_slot(version) == expected
