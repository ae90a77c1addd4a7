"""Estimated costs, measured ones in their place, and how far off the estimates say they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from factory.costs.estimate import check, costs_of, fit, how_sure
from factory.costs.model import UnitCost
from factory.costs.samples import Record, Sample
from factory.costs.shipped import shipped_records
from factory.costs.traits import Kind, Traits, kind_of, traits_of
from factory.files import digest
from factory.model import Mode, SourceSizes, UnitKey
from tests.unit.builders import unit

if TYPE_CHECKING:
    from factory.model import PackageId, Unit


def nothing_known(_package: PackageId) -> None:
    return None


def record(crate: str, seconds: float, size: int, **changes: object) -> Record:
    values: dict[str, object] = {
        "crate": crate,
        "version": "1.0.0",
        "kind": Kind.LIBRARY,
        "opt_level": "3",
        "features": (),
        "source_bytes": 1000,
    }
    traits = Traits(**(values | changes))  # type: ignore[arg-type]
    return Record(
        key=UnitKey(digest(repr(traits))[:32]),
        rustc="rustc 1.95.0",
        platform="x86_64-unknown-linux-gnu",
        traits=traits,
        samples=(Sample(cook="0" * 32, seconds=seconds, bytes=size, cores=2),),
    )


def seconds_of(records: list[Record], crate: str, **changes: object) -> float:
    return fit(records).cost(record(crate, 1, 1, **changes).traits).seconds


def test_units_have_sizes_of_their_kind_before_anything_was_measured() -> None:
    run = unit("run", "script", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD)
    ordered = [
        run,
        unit("check", mode=Mode.CHECK),
        unit("script", target_kind="custom-build"),
        unit("lib"),
        unit("macro", target_kind="proc-macro"),
    ]
    costs = costs_of({one.key: one for one in ordered}, {}, fit([]), nothing_known)
    sizes = [costs[one.key].bytes for one in ordered]
    assert sizes == sorted(set(sizes))
    assert sizes[0] > 0
    assert check(fit([])) is None


def test_what_was_measured_is_not_estimated() -> None:
    known, unknown = unit("a"), unit("b")
    measured = UnitCost(seconds=7.5, bytes=123, measured=True)
    costs = costs_of({one.key: one for one in (known, unknown)}, {known.key: measured}, fit([]), nothing_known)
    assert costs[known.key] == measured
    assert not costs[unknown.key].measured
    assert how_sure(costs, fit([])) == "costs: 88 % of the seconds and 0 % of the bytes are measured"


def test_more_source_takes_longer() -> None:
    records = [record(f"c{n}", n * 2.0, n * 5000, source_bytes=n * 10_000) for n in range(1, 20)]
    assert seconds_of(records, "new", source_bytes=100_000) == pytest.approx(20, rel=0.01)
    assert seconds_of(records, "new", source_bytes=400_000) == pytest.approx(80, rel=0.01)
    # With no crate at hand, what is in the middle.
    assert seconds_of(records, "new", source_bytes=None) == pytest.approx(20, rel=0.01)
    assert fit(records).cost(record("new", 1, 1, source_bytes=100_000).traits).bytes == pytest.approx(50_000, rel=0.01)


def test_a_dear_crate_stays_dear_in_the_next_version() -> None:
    records = [record(f"c{n}", 1.0, 1000) for n in range(10)]
    records += [record("dear", 30.0, 1000, features=("full",)), record("dear", 10.0, 1000)]
    # Others are raised a little, as the next unknown one may be as dear.
    assert 1.0 < seconds_of(records, "other") <= 1.5
    assert seconds_of(records, "dear", version="1.0.1", features=("full",)) == pytest.approx(30.0)
    assert seconds_of(records, "dear", version="1.0.1") == pytest.approx(10.0)
    # The same version with features that nobody has measured: what lies between.
    assert 10.0 < seconds_of(records, "dear", features=("some",)) < 30.0
    # Its build script is another matter.
    assert seconds_of(records, "dear", kind=Kind.BUILD_SCRIPT) < 1.0


def test_a_run_is_native_when_its_script_stands_on_a_c_compiler() -> None:
    made = {
        "cc": unit("cc"),
        "find": unit("find", "cc", name="pkg-finder"),
        "script": unit("script", "find", name="sys", target_kind="custom-build"),
        "run": unit("run", "script", name="sys", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD),
        "plain": unit("plain", name="other", target_kind="custom-build"),
        "plain-run": unit("plain-run", "plain", name="other", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD),
    }
    units: dict[UnitKey, Unit] = {one.key: one for one in made.values()}
    assert kind_of(made["run"], units) is Kind.NATIVE_RUN
    assert kind_of(made["plain-run"], units) is Kind.BUILD_SCRIPT_RUN
    sizes = {"sys": SourceSizes(rust=5, script=7, native=100), "cc": SourceSizes(rust=9, script=0, native=11)}
    assert traits_of(made["run"], units, lambda package: sizes.get(package.name)).source_bytes == 111
    assert traits_of(made["script"], units, lambda package: sizes.get(package.name)).source_bytes == 7
    assert traits_of(made["cc"], units, lambda package: sizes.get(package.name)).source_bytes == 9
    assert traits_of(made["plain"], units, lambda package: sizes.get(package.name)).source_bytes is None


def test_the_check_estimates_each_crate_by_the_others() -> None:
    # Every crate is as dear as its source says, but for one, ten times as dear.
    records = [record(f"c{n}", n * 1.0, n * 100, source_bytes=n * 1000) for n in range(1, 40)]
    records.append(record("odd", 100.0, 1000, source_bytes=10_000))
    found = check(fit(records))
    assert found is not None
    seconds, size = found
    assert seconds.units == size.units == 40
    assert seconds.median < 1.3
    assert size.median == pytest.approx(1.0, abs=0.01)
    # 780 s of 880 are near the truth.
    assert seconds.share_within_two == pytest.approx(780 / 880, abs=0.01)
    assert seconds.total < 1.0


def test_the_order_of_measurements_does_not_matter() -> None:
    records = [record(f"c{n}", n * 1.7, n * 100, source_bytes=n * 1000) for n in range(1, 30)]
    assert fit(records).cost(records[3].traits) == fit(records[::-1]).cost(records[3].traits)


def test_what_is_shipped_can_be_read_and_says_how_good_it_is() -> None:
    records = shipped_records()
    found = check(fit(records))
    assert found is not None
    assert found[0].units > 400
    # Claims of docs/measurements.md, with some room.
    assert found[0].median < 2.0
    assert found[0].nine_in_ten < 6.0
