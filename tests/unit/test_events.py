from __future__ import annotations

import json
from collections import Counter
from typing import Any

from factory.cargo.events import BuildEvents, identity, keys_done, parse_events
from factory.model import CRATES_IO, Mode, Side
from tests.unit.unit_builder import DEV, unit

SCRIPT = "/warm/release/build/libc-0f/build-script-build"


def artifact(name: str, *, fresh: bool, kind: str = "lib", source: str = CRATES_IO, **changes: Any) -> str:  # noqa: ANN401
    profile = {"opt_level": "3", "debuginfo": 0, "debug_assertions": False, "overflow_checks": False, "test": False}
    target = {"kind": [kind], "crate_types": [kind], "name": "build-script-build" if kind == "custom-build" else name}
    message = {
        "reason": "compiler-artifact",
        "package_id": f"{source}#{name}@1.0.0",
        "target": target,
        "profile": profile,
        "features": [],
        "filenames": [],
        "fresh": fresh,
    }
    return json.dumps(message | changes)


def executed(name: str) -> str:
    return json.dumps({"reason": "build-script-executed", "package_id": f"{CRATES_IO}#{name}@1.0.0"})


FINISHED = json.dumps({"reason": "build-finished", "success": True})


def parse(*lines: str, stderr: str = "") -> BuildEvents:
    return parse_events("\n".join((*lines, FINISHED)), stderr)


def test_fresh_and_compiled_units_are_told_apart() -> None:
    events = parse(artifact("a", fresh=True), artifact("b", fresh=False))

    assert events.fresh == Counter({identity(unit("a")): 1})
    assert events.compiled == Counter({identity(unit("b")): 1})
    assert (events.total, events.success) == (2, True)


def test_features_are_sorted_and_null_debuginfo_is_none() -> None:
    profile = {"opt_level": "3", "debuginfo": None, "debug_assertions": False, "overflow_checks": False}

    events = parse(artifact("a", fresh=True, features=["std", "alloc"], profile=profile))

    assert events.fresh == Counter({identity(unit("a", features=("alloc", "std"))): 1})


def test_named_debuginfo_is_kept() -> None:
    profile = {
        "opt_level": "0",
        "debuginfo": "line-tables-only",
        "debug_assertions": True,
        "overflow_checks": True,
    }

    (found,) = parse(artifact("a", fresh=True, profile=profile)).fresh

    assert found.debuginfo == "line-tables-only"
    assert found != identity(unit("a", profile=DEV))


def test_path_packages_are_named_and_not_counted() -> None:
    events = parse(artifact("mine", fresh=False, source="path+file:///src/mine"))

    assert events.total == 0
    assert events.path_packages == {"mine"}


def test_script_run_is_fresh_unless_cargo_says_that_it_runs() -> None:
    run = identity(unit("libc", mode=Mode.RUN_CUSTOM_BUILD, target_kind="custom-build"))
    script = artifact("libc", fresh=True, kind="custom-build", filenames=[SCRIPT])

    quiet = parse(script, executed("libc"))
    loud = parse(script, executed("libc"), stderr=f"     Running `{SCRIPT}`\n")

    assert (quiet.fresh[run], quiet.compiled[run]) == (1, 0)
    assert (loud.fresh[run], loud.compiled[run]) == (0, 1)


def test_two_runs_of_one_script_are_counted() -> None:
    run = identity(unit("libc", mode=Mode.RUN_CUSTOM_BUILD, target_kind="custom-build"))
    script = artifact("libc", fresh=True, kind="custom-build", filenames=[SCRIPT])

    events = parse(script, executed("libc"), executed("libc"), stderr=f"     Running `CARGO=/bin/cargo {SCRIPT}`\n")

    assert (events.fresh[run], events.compiled[run]) == (1, 1)


def test_lines_of_other_programs_are_passed_over() -> None:
    events = parse("{not json", "[1]", "   Compiling a v1.0.0", '{"reason": "else"}', artifact("a", fresh=True))

    assert events.total == 1


def test_failures_say_which_package_and_why() -> None:
    stderr = (
        "   Compiling openssl-sys v0.9.1\n"
        "error: failed to run custom build command for `openssl-sys v0.9.1`\n\n"
        "Caused by:\n  process didn't exit successfully\n  Could not find directory of OpenSSL\n"
        "error: could not compile `ring` (lib) due to 1 previous error\n"
    )

    script, crate = parse_events("", stderr).failures

    assert (script.package_name, script.version) == ("openssl-sys", "0.9.1")
    assert "Could not find directory of OpenSSL" in script.detail
    assert "ring" not in script.detail
    assert (crate.package_name, crate.version) == ("ring", None)


def test_no_end_of_the_build_is_no_success() -> None:
    assert not parse_events(artifact("a", fresh=True), "").success


def test_keys_are_done_when_all_of_the_same_identity_are() -> None:
    target, host = unit("a"), unit("a", sides=(Side.HOST,), profile=unit("a").profile, linker="cc")
    other = unit("b")
    identities = {each.key: identity(each) for each in (target, host, other)}

    assert identities[target.key] == identities[host.key]
    assert keys_done(identities, Counter({identity(target): 1, identity(other): 1})) == {other.key}
    assert keys_done(identities, Counter({identity(target): 2})) == {target.key, host.key}
