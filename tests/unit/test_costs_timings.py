"""What a cook took, from cargo's page of timings, its messages and looks at the processor time."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory import process
from factory.costs.clock import Clock, processor_seconds
from factory.costs.log import read_log
from factory.costs.observe import Cooked, files_below, observe, sizes_by_hash
from factory.costs.timings import Spell, Tick, Work, core_seconds, read_timings
from factory.errors import BuildFailedError
from factory.model import Mode
from tests.unit.builders import unit
from tests.unit.unit_builder import RELEASE_HOST

if TYPE_CHECKING:
    from pathlib import Path


def row(name: str, start: float, duration: float, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    plain: dict[str, Any] = {
        "name": name,
        "version": "1.0.0",
        "mode": "todo",
        "target": "",
        "features": [],
        "sections": None,
    }
    return plain | {"start": start, "duration": duration} | changes


def page(*rows: dict[str, Any]) -> str:
    return f"<html>\n<script>\nconst UNIT_DATA = {json.dumps(rows, indent=2)};\nconst CPU_USAGE = [\n];\n</script>"


def artifact(name: str, number: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    plain = {
        "reason": "compiler-artifact",
        "package_id": f"registry+https://github.com/rust-lang/crates.io-index#{name}@1.0.0",
        "target": {"kind": ["lib"], "name": name},
        "profile": {"opt_level": "3", "debuginfo": 0, "debug_assertions": False, "overflow_checks": False},
        "features": [],
        "filenames": [
            f"/b/release/deps/lib{name}-{number:016x}.rlib",
            f"/b/release/deps/lib{name}-{number:016x}.rmeta",
        ],
        "fresh": False,
    }
    return plain | changes


def messages(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(one, separators=(",", ":")) for one in rows)


def spell(start: float, end: float) -> Spell:
    return Spell(crate="a", version="1", features=(), work=Work.LIBRARY, start=start, end=end)


def test_the_page_is_read_in_the_order_in_which_units_end() -> None:
    spells = read_timings(
        page(
            row("late", 0.5, 3.0, features=["std", "alloc"]),
            row("run", 0.25, 0.5, mode="run-custom-build", target=" build-script (run)"),
            row("script", 0.0, 0.25, target=" build-script"),
            row("checked", 1.0, 1.0, target=" lib (check)"),
        )
    )
    assert [(one.crate, one.work, one.start, one.end) for one in spells] == [
        ("script", Work.SCRIPT, 0.0, 0.25),
        ("run", Work.RUN, 0.25, 0.75),
        ("checked", Work.CHECK, 1.0, 2.0),
        ("late", Work.LIBRARY, 0.5, 3.5),
    ]
    assert spells[3].features == ("alloc", "std")
    assert read_timings(page()) == ()


@pytest.mark.parametrize(
    "text", ["", "const UNIT_DATA = [", "const UNIT_DATA = [{}];", "const UNIT_DATA = [7];", "const UNIT_DATA = 7;"]
)
def test_a_page_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BuildFailedError, match="form that this version of factory does not know") as caught:
        read_timings(text)
    assert "costs.record" in caught.value.advice


def test_without_a_look_at_the_processor_wall_seconds_have_to_do() -> None:
    assert core_seconds([spell(0, 2), spell(1, 4)], []) == (2, 3)


def test_processor_time_is_shared_among_the_units_at_work() -> None:
    # One unit alone for two seconds, both for two, the other alone for two; a machine with half a core to spare.
    spells = [spell(0, 4), spell(2, 6)]
    ticks = [Tick(float(second), second / 2) for second in range(1, 7)]
    assert core_seconds(spells, ticks) == pytest.approx((1.5, 1.5))


def test_a_starved_unit_costs_what_it_worked() -> None:
    # In the middle other programs had the machine for ten seconds.
    ticks = [Tick(1, 1.0), Tick(11, 1.0), Tick(12, 2.0)]
    assert core_seconds([spell(0, 12)], ticks) == pytest.approx((2.0,))


def test_what_comes_after_the_last_look_counts_like_what_came_before() -> None:
    assert core_seconds([spell(0, 3)], [Tick(2.0, 1.0)]) == pytest.approx((1.0 + 1.0 / 3,))


def test_a_process_that_is_seen_twice_for_a_moment_is_counted_once() -> None:
    ticks = [Tick(1, 1.0), Tick(2, 3.0), Tick(3, 2.5), Tick(4, 3.5)]
    assert core_seconds([spell(0, 4)], ticks) == pytest.approx((3.5,))
    assert min(core_seconds([spell(0, 1), spell(1, 2), spell(2, 3), spell(3, 4)], ticks)) >= 0


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 20)), min_size=1, max_size=8),
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 10)), min_size=1, max_size=30),
)
def test_no_processor_time_is_charged_twice(times: list[tuple[float, float]], steps: list[tuple[float, float]]) -> None:
    now = processor = 0.0
    ticks = []
    for wall, spent in steps:
        now, processor = now + wall, processor + spent
        ticks.append(Tick(now, processor))
    within = [spell(min(start, now), min(start + length, now)) for start, length in times]
    assert sum(core_seconds(within, ticks)) <= processor * (1 + 1e-9) + 1e-9


def test_units_that_the_page_calls_the_same_are_told_apart_by_the_order_in_which_they_end() -> None:
    target, host = unit("target", name="a"), unit("host", name="a", profile=RELEASE_HOST)
    host_profile = {"opt_level": "0", "debuginfo": 0, "debug_assertions": False, "overflow_checks": False}
    cooked = Cooked(
        messages=messages(artifact("a", 1, profile=host_profile), artifact("a", 2)),
        spells=read_timings(page(row("a", 0, 9.0), row("a", 1, 2.0))),
        ticks=(),
    )
    seen = observe({one.key: one for one in (target, host)}, cooked, {f"{1:016x}": 10, f"{2:016x}": 20})
    assert (seen[host.key].seconds, seen[host.key].bytes) == (2.0, 10)
    assert (seen[target.key].seconds, seen[target.key].bytes) == (9.0, 20)


def test_units_that_nobody_can_tell_apart_get_the_mean_or_nothing() -> None:
    twins = {one.key: one for one in (unit("one", name="a"), unit("two", name="a"))}
    both = Cooked(
        messages=messages(artifact("a", 1), artifact("a", 2)),
        spells=read_timings(page(row("a", 0, 1.0), row("a", 0, 3.0))),
        ticks=(),
    )
    seen = observe(twins, both, {f"{1:016x}": 10, f"{2:016x}": 30})
    assert {(one.seconds, one.bytes) for one in seen.values()} == {(2.0, 20)}
    only_one = Cooked(
        messages=messages(artifact("a", 1, fresh=True), artifact("a", 2)),
        spells=read_timings(page(row("a", 0, 3.0))),
        ticks=(),
    )
    assert observe(twins, only_one, {}) == {}


def test_runs_are_told_apart_by_their_features() -> None:
    one, two = (
        unit(name, name="a", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD, features=features)
        for name, features in (("one", ("x",)), ("two", ()))
    )
    executed = {"reason": "build-script-executed", "package_id": artifact("a", 0)["package_id"]}
    cooked = Cooked(
        messages=messages(
            executed | {"out_dir": f"/b/release/build/a-{1:016x}/out"},
            executed | {"out_dir": f"/b/release/build/a-{2:016x}/out"},
        ),
        spells=read_timings(
            page(
                row("a", 0, 5.0, mode="run-custom-build", target=" build-script (run)", features=["x"]),
                row("a", 0, 1.0, mode="run-custom-build", target=" build-script (run)"),
            )
        ),
        ticks=(),
    )
    seen = observe({one.key: one, two.key: two}, cooked, {f"{1:016x}": 10, f"{2:016x}": 30})
    assert (seen[one.key].seconds, seen[two.key].seconds) == (5.0, 1.0)
    assert seen[one.key].bytes == seen[two.key].bytes == 20


def test_a_unit_of_a_check_is_no_build() -> None:
    built, checked = unit("built", name="a"), unit("checked", name="a", mode=Mode.CHECK)
    cooked = Cooked(
        messages=messages(artifact("a", 1), artifact("a", 2, filenames=[f"/b/debug/deps/liba-{2:016x}.rmeta"])),
        spells=read_timings(page(row("a", 0, 4.0), row("a", 0, 1.0, target=" lib (check)"))),
        ticks=(),
    )
    seen = observe({one.key: one for one in (built, checked)}, cooked, {})
    assert (seen[built.key].seconds, seen[checked.key].seconds) == (4.0, 1.0)


def test_files_are_added_up_by_the_first_hash_in_their_path(tmp_path: Path) -> None:
    script = tmp_path / "release/build/a-00000000000000aa/build-script-build"
    script.parent.mkdir(parents=True)
    script.write_text("1234")
    os.link(script, script.with_name("build_script_build-00000000000000aa"))
    made = tmp_path / "release/build/a-00000000000000bb/out/x-00000000000000aa.o"
    made.parent.mkdir(parents=True)
    made.write_text("12")
    (tmp_path / "release/.cargo-lock").write_text("12345")
    assert sizes_by_hash(files_below(tmp_path)) == {"00000000000000aa": 4, "00000000000000bb": 2}


@pytest.mark.runs_programs
def test_the_clock_sees_the_work_of_a_program_and_its_children() -> None:
    clock = Clock()
    busy = "i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done"
    process.run(["sh", "-c", f"({busy}); ({busy}) & wait; sleep 0.6"], timeout=120, beside=clock.watching)
    assert clock.ticks[-1].processor_seconds > 0.1
    assert clock.ticks[-1].seconds >= 0.6
    assert processor_seconds(2**30) == 0


@pytest.mark.runs_programs
def test_the_clock_stops_with_its_program() -> None:
    clock = Clock()
    with contextlib.suppress(process.ProgramFailedError):
        process.run(["false"], timeout=60, beside=clock.watching)
    before = len(clock.ticks)
    time.sleep(0.6)
    assert len(clock.ticks) == before


def block(recipe: str, what: str, text: str, width: int = 40) -> list[str]:
    packed = base64.b64encode(gzip.compress(text.encode())).decode()
    chunks = [packed[at : at + width] for at in range(0, len(packed), width)]
    return [f"factory-measured {recipe} {what} {chunk}" for chunk in chunks]


def log_lines() -> list[str]:
    return [
        "cooking r1",
        *block("r1", "clock", "100.00 50\n101.00 150\n101.50 140\n102.00 160\n"),
        *block("r1", "timings", page(row("a", 0, 2.0))),
        "   Compiling a v1.0.0",
        *block("r1", "messages", messages(artifact("a", 1))),
        *block("-", "sizes", f"{1:016x} 10\n"),
    ]


def test_the_log_of_a_build_is_read() -> None:
    told = read_log("\n".join(log_lines()))
    assert told.damaged == ()
    assert told.sizes == {f"{1:016x}": 10}
    cooked = told.cooks["r1"]
    assert [tick.seconds for tick in cooked.ticks] == [1.0, 1.5, 2.0]
    assert [tick.processor_seconds for tick in cooked.ticks] == pytest.approx([1.0, 0.9, 1.1])
    one = unit("a")
    assert observe({one.key: one}, cooked, told.sizes)[one.key].seconds == pytest.approx(1.1)


@pytest.mark.parametrize("lost", ["clock", "timings", "messages"])
def test_a_clipped_log_tells_what_was_lost(lost: str) -> None:
    lines = log_lines()
    cut = max(number for number, line in enumerate(lines) if f"r1 {lost}" in line)
    told = read_log("\n".join(lines[:cut] + lines[cut + 1 :]))
    assert told.damaged == ("r1",)
    assert told.cooks == {}


def test_a_step_from_the_build_cache_tells_nothing() -> None:
    told = read_log("CACHED\n")
    assert (told.cooks, told.sizes, told.damaged) == ({}, {}, ())


def test_missing_sizes_are_noticed() -> None:
    told = read_log("\n".join(line for line in log_lines() if " sizes " not in line))
    assert told.damaged == ("-",)
