"""Requirements mean what they mean to cargo, or to an advisory; `tests/cargo/test_requirement.py` asks cargo itself."""

from __future__ import annotations

import pytest

from factory.cargo.requirement import allows, check_requirement, is_met, is_met_in_order
from tests.requirements import MET, NONE, UNMET


@pytest.mark.parametrize(("requirement", "version"), MET)
def test_a_requirement_is_met_by_what_cargo_takes(requirement: str, version: str) -> None:
    assert is_met(requirement, version)
    assert is_met_in_order(requirement, version)
    assert allows(requirement, version)


@pytest.mark.parametrize(("requirement", "version"), UNMET)
def test_a_requirement_is_not_met_by_anything_else(requirement: str, version: str) -> None:
    assert not is_met(requirement, version)
    assert not allows(requirement, version)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_requirement_is_refused_and_left_to_cargo(text: str) -> None:
    with pytest.raises(ValueError, match="not a requirement"):
        check_requirement(text)
    assert allows(text, "1.0.0")


@pytest.mark.parametrize(
    ("requirement", "version", "met"),
    [
        (">=1.0.0", "2.0.0-alpha.1", True),
        (">=1.0.0", "1.0.0-alpha.1", False),
        ("<1.0.0", "1.0.0-alpha.1", True),
        ("<1.0", "1.0.0-alpha.1", True),
        ("<=1.2", "1.2.9-rc.1", True),
        (">1.2", "1.3.0-rc.1", False),
        ("^1.2", "1.3.0-rc.1", True),
        ("^1.2", "2.0.0", False),
        ("~1.2.3", "1.3.0", False),
        ("=1.2", "1.2.3-rc.1", True),
        ("1.2.*", "1.3.0", False),
        ("*", "1.0.0-rc.1", True),
    ],
)
def test_to_an_advisory_a_pre_release_has_its_place_in_the_order(requirement: str, version: str, *, met: bool) -> None:
    assert is_met_in_order(requirement, version) is met
