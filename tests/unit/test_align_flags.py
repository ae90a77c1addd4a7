"""RUSTFLAGS and linker as most repositories have them: what is written, what is explained, and what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tomli

from factory.consumer.align.flags import FlagRules, Flags, settle_flags
from factory.scan.cargo_config import read_recorded
from factory.scan.cfg_expression import CfgSet
from factory.scan.discover import find_workspaces
from factory.scan.source_tree import SourceTree
from tests.hostile import good_repo, write_files

if TYPE_CHECKING:
    from pathlib import Path

TRIPLE = "x86_64-unknown-linux-gnu"


def cfgs_under(flags: tuple[str, ...]) -> CfgSet:
    """What a rustc says that knows one feature."""
    feature = '\ntarget_feature="avx2"' if "-Ctarget-feature=+avx2" in flags else ""
    return CfgSet.parse(f'unix\ntarget_os="linux"\ntarget_arch="x86_64"{feature}\n')


CONFIG = ".cargo/config.toml"


def settled(
    root: Path, files: dict[str, str], *, common: tuple[str, ...] = (), beneath: tuple[str, ...] = (), at: str = "."
) -> Flags:
    """Settle the workspace at a folder of a repository with these files."""
    repo = good_repo(root)
    write_files(repo, {".git/HEAD": "ref: refs/heads/main\n", **files})
    (found,) = [one for one in find_workspaces([repo]).workspaces if one.root == (repo / at).resolve()]
    recorded = read_recorded(SourceTree.of(found), found.root)
    rules = FlagRules(common=common, beneath=beneath, triple=TRIPLE, cfgs_under=cfgs_under)
    flags = settle_flags(found, recorded, rules)
    now = flags.recorded.effective_rustflags(TRIPLE, cfgs_under, beneath=beneath)
    assert bool(flags.left) == (now != common)
    return flags


def test_who_has_the_common_flags_has_nothing_to_change(tmp_path: Path) -> None:
    flags = settled(
        tmp_path, {CONFIG: 'build.rustflags = ["-Ctarget-cpu=x86-64-v2"]\n'}, common=("-Ctarget-cpu=x86-64-v2",)
    )
    assert (flags.changes, flags.left, flags.files) == ((), (), {})


def test_flags_go_and_the_rest_of_the_file_stays_to_the_byte(tmp_path: Path) -> None:
    text = (
        '# ours\n[alias]\nb = "build"   # short\n\n[build]\njobs = 2\nrustflags = ["-D", "warnings"]\n\n'
        '[target.\'cfg(unix)\']\nrustflags = ["-Ctarget-cpu=x86-64-v3", "-Clink-arg=-fuse-ld=mold"]\n'
        'linker = "clang"\n\n'
        '[target.x86_64-pc-windows-msvc]\nrustflags = ["-Ctarget-feature=+crt-static"]\n'
    )
    flags = settled(tmp_path, {CONFIG: text})
    expected = (
        '# ours\n[alias]\nb = "build"   # short\n\n[build]\njobs = 2\n\n'
        '[target.x86_64-pc-windows-msvc]\nrustflags = ["-Ctarget-feature=+crt-static"]\n'
    )
    assert flags.files == {CONFIG: (text, expected)}
    assert flags.recorded.effective_linker(TRIPLE, cfgs_under) is None
    assert [row.what.partition(":")[0] for row in flags.changes] == [
        "without -Ctarget-cpu=x86-64-v3",
        "without -Clink-arg=-fuse-ld=mold",
        "clang -> rustc's own",
    ]
    assert all(": " in row.what for row in flags.changes)


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ('"--cfg", "tokio_unstable"', "the code may be written for it"),
        ('"-Zthreads=8"', "nobody here knows what it does"),
        ('"-Clink-arg=-Tlink.x"', "nobody here knows what it does"),
    ],
)
def test_what_the_code_may_need_stays_and_so_does_all_beside_it(tmp_path: Path, flag: str, why: str) -> None:
    flags = settled(tmp_path, {CONFIG: f'[build]\nrustflags = ["-Ctarget-cpu=x86-64-v2", {flag}]\n'})
    assert (flags.changes, flags.files) == ((), {})
    (left,) = flags.left
    assert left.what.startswith(why)


def test_flags_under_those_of_a_platform_are_judged_as_well(tmp_path: Path) -> None:
    """They take effect as soon as the platform's own are gone."""
    text = f'[build]\nrustflags = ["--cfg", "loom"]\n[target.{TRIPLE}]\nrustflags = ["-Ctarget-cpu=native"]\n'
    assert [row.subject for row in settled(tmp_path, {CONFIG: text}).left] == ["RUSTFLAGS --cfg=loom"]


def test_a_file_that_had_nothing_else_is_removed(tmp_path: Path) -> None:
    text = '[build]\nrustflags = ["-g"]\n'
    assert settled(tmp_path, {CONFIG: text}).files == {CONFIG: (text, None)}


def test_a_byte_order_mark_stays(tmp_path: Path) -> None:
    text = '\ufeff[build]\njobs = 2\nrustflags = ["-g"]\n'
    assert settled(tmp_path, {CONFIG: text}).files == {CONFIG: (text, "\ufeff[build]\njobs = 2\n")}


def test_flags_in_inline_tables_of_several_lines_go(tmp_path: Path) -> None:
    text = "[target]\n'cfg(unix)' = {\n  rustflags = ['-g'], # why\n  linker = \"ld\",\n  runner = \"r\",\n}\n"
    flags = settled(tmp_path, {CONFIG: text})
    ((before, after),) = flags.files.values()
    assert (before, tomli.loads(after or "")) == (text, {"target": {"cfg(unix)": {"runner": "r"}}})


def test_flags_of_most_others_are_written_where_there_is_no_configuration(tmp_path: Path) -> None:
    flags = settled(tmp_path, {}, common=("-g", "-Ctarget-cpu=x86-64-v2"), beneath=("-g",))
    assert flags.files == {CONFIG: (None, '[build]\nrustflags = ["-Ctarget-cpu=x86-64-v2"]\n')}
    (change,) = flags.changes
    assert change.what.startswith("with -Ctarget-cpu=x86-64-v2: for which processors")


def test_flags_in_all_configurations_up_to_the_repository_count(tmp_path: Path) -> None:
    inner = {"tool/Cargo.toml": '[package]\nname = "tool"\nversion = "0.1.0"\n[workspace]\n', "tool/src/lib.rs": ""}
    inner["tool/Cargo.lock"] = 'version = 4\n\n[[package]]\nname = "tool"\nversion = "0.1.0"\n'
    outer, near = 'build.rustflags = ["-g"]\n', '[build]\nrustflags = ["-Dwarnings"]\n'
    flags = settled(tmp_path, {CONFIG: outer, f"tool/{CONFIG}": near, **inner}, at="tool")
    assert flags.files == {CONFIG: (outer, None), f"tool/{CONFIG}": (near, None)}


def test_flags_that_the_images_set_beneath_others_cannot_be_reached(tmp_path: Path) -> None:
    flags = settled(tmp_path, {}, common=("-Ctarget-cpu=x86-64-v2",), beneath=("-g",))
    assert flags.files == {}
    assert "beside the images' own flags" in flags.left[0].what


def test_flags_in_an_included_file_go_and_the_file_stays(tmp_path: Path) -> None:
    """Cargo refuses to go on without a file that is included."""
    text = 'include = ["flags.toml"]\n'
    flags = settled(tmp_path, {CONFIG: text, ".cargo/flags.toml": '[build]\nrustflags = ["-g"]\n'})
    assert flags.files == {".cargo/flags.toml": ('[build]\nrustflags = ["-g"]\n', "")}


def test_a_configuration_that_is_read_and_included_stays_too(tmp_path: Path) -> None:
    flags = settled(
        tmp_path,
        {
            CONFIG: 'build.rustflags = ["-g"]\n',
            "inner/.cargo/config.toml": 'include = ["../../.cargo/config.toml"]\n',
            "inner/Cargo.toml": '[package]\nname = "inner"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n',
            "inner/src/lib.rs": "",
            "inner/Cargo.lock": "version = 4\n",
        },
        at="inner",
    )
    assert [after for path, (_, after) in flags.files.items() if path == CONFIG] == [""]


def test_lines_that_come_in_end_as_the_others_do(tmp_path: Path) -> None:
    text = '[alias]\r\nb = "build"\r\n'
    ((_, after),) = settled(tmp_path, {CONFIG: text}, common=("-g",)).files.values()
    assert after is not None
    assert tomli.loads(after)["build"] == {"rustflags": ["-g"]}
    assert after.count("\n") == after.count("\r\n") > 2


def test_nothing_is_written_where_an_included_file_is_not_in_the_repository(tmp_path: Path) -> None:
    flags = settled(tmp_path, {CONFIG: 'include = ["ci.toml"]\n[build]\nrustflags = ["-g"]\n'})
    assert (flags.files, flags.changes) == ({}, ())
    (left,) = flags.left
    assert left.what == f"good/{CONFIG}:1 includes ci.toml, not in the repository: there may be others"


def test_flags_that_hold_under_others_go_with_them(tmp_path: Path) -> None:
    text = f"[target.{TRIPLE}]\nrustflags = ['-Ctarget-feature=+avx2']\n"
    text += "[target.'cfg(target_feature = \"avx2\")']\nrustflags = ['-Clto']\nlinker = 'clang'\n"
    flags = settled(tmp_path, {CONFIG: text})
    assert flags.files == {CONFIG: (text, None)}


@pytest.mark.parametrize("setting", ["rustflags = ['-Clto']", "linker = 'clang'"])
def test_nothing_is_written_where_the_common_flags_would_let_others_hold(tmp_path: Path, setting: str) -> None:
    text = f"[target.'cfg(target_feature = \"avx2\")']\n{setting}\n"
    flags = settled(tmp_path, {CONFIG: text}, common=("-Ctarget-feature=+avx2",))
    assert (flags.files, flags.changes) == ({}, ())
    assert "a `cfg(...)` of the configuration holds that sets others" in flags.left[0].what
