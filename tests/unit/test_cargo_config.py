"""Recorded configuration: merged and evaluated as cargo does, and nothing of it in effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli

from factory.scan.cargo_config import RecordedConfig, read_recorded, vendored_folders
from factory.scan.cfg_expression import CfgSet
from factory.scan.model import SkipReason, UnscannableError
from factory.scan.source_tree import SourceTree
from tests.hostile import HOST, write_files

LINUX = 'target_os="linux"\nunix\n'
CONFIG = ".cargo/config.toml"


def linux(flags: tuple[str, ...]) -> CfgSet:
    """What a rustc says that knows of features and names what they are told."""
    told = {"-Ctarget-feature=+avx2": 'target_feature="avx2"'}
    return CfgSet.parse(
        LINUX + "".join(f"{told.get(flag, flag.removeprefix('--cfg='))}\n" for flag in flags if "=" in flag)
    )


def windows(_: tuple[str, ...]) -> CfgSet:
    return CfgSet.parse("windows")


def record(root: Path, files: dict[str, str], *, workspace: str = ".") -> RecordedConfig:
    write_files(root, {".git/HEAD": "", **files})
    tree = SourceTree(scan_root=root, label="repo")
    return read_recorded(tree, root / workspace)


def ignored(recorded: RecordedConfig) -> dict[str, int | None]:
    return {setting.key: setting.line for setting in recorded.ignored}


def test_nothing_is_recorded_without_configuration(tmp_path: Path) -> None:
    assert record(tmp_path, {}) == RecordedConfig()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('[build]\nrustflags = ["-Ca", "-C b"]\n', ("-Ca", "-C b")),
        ('[build]\nrustflags = " -Ca  -Cb\\t"\n', ("-Ca", "-Cb")),
        (f'[build]\nrustflags = "-Ca"\n[target.{HOST}]\nrustflags = "-Cb"\n', ("-Cb",)),
        # An empty list is as good as none: cargo goes on to [build].
        (f'[build]\nrustflags = "-Ca"\n[target.{HOST}]\nrustflags = []\n', ("-Ca",)),
        ("[build]\nrustflags = '-Ca'\n[target.'cfg(windows)']\nrustflags = '-Cb'\n", ("-Ca",)),
        ("[build]\nrustflags = '-Ca'\n[target.other-triple]\nrustflags = '-Cb'\n", ("-Ca",)),
        # The triple first, then every matching cfg in the order of the sorted keys.
        (
            f"[target.'cfg(unix)']\nrustflags = '-Cz'\n[target.'cfg(not(windows))']\nrustflags = ['-Cm']\n"
            f"[target.{HOST}]\nrustflags = '-Ct'\n",
            ("-Ct", "-Cm", "-Cz"),
        ),
        ("[target.'cfg(unix']\nrustflags = '-Cz'\n", ()),
    ],
)
def test_effective_rustflags(tmp_path: Path, config: str, expected: tuple[str, ...]) -> None:
    assert record(tmp_path, {CONFIG: config}).effective_rustflags(HOST, linux) == expected


AVX2 = "-Ctarget-feature=+avx2"
UNDER_AVX2 = "[target.'cfg(target_feature = \"avx2\")']\nrustflags = ['--cfg=fast']\n"


# What cargo 1.95 passes; of the last three it says that flags and conditions depend on each other.
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (f"[target.{HOST}]\nrustflags = ['{AVX2}']\n{UNDER_AVX2}", (AVX2, "--cfg=fast")),
        (f"[build]\nrustflags = ['{AVX2}']\n{UNDER_AVX2}", ("--cfg=fast",)),
        (f"[target.'cfg(unix)']\nrustflags = ['{AVX2}']\n{UNDER_AVX2}", (AVX2,)),
        (
            "[target.'cfg(foo)']\nrustflags = ['--cfg=bar']\n[target.'cfg(not(foo))']\nrustflags = ['--cfg=foo']\n",
            ("--cfg=foo",),
        ),
    ],
)
def test_conditions_hold_under_the_flags_that_need_none(tmp_path: Path, config: str, expected: tuple[str, ...]) -> None:
    assert record(tmp_path, {CONFIG: config}).effective_rustflags(HOST, linux) == expected


def test_the_linker_is_that_under_the_flags_in_effect(tmp_path: Path) -> None:
    linker = "[target.'cfg(fast)']\nlinker = 'a'\n"
    recorded = record(tmp_path, {CONFIG: f"[target.{HOST}]\nrustflags = ['{AVX2}']\n{UNDER_AVX2}{linker}"})
    assert recorded.effective_linker(HOST, linux) == "a"
    assert record(tmp_path, {CONFIG: linker}).effective_linker(HOST, linux) is None


@pytest.mark.parametrize(
    ("config", "doubts"),
    [
        (
            "[source]\ncrates-io.replace-with = 'a'\na.replace-with = 'b'\nb.directory = 'vendor'\n",
            [("source.crates-io", "takes crates from vendored sources: nothing is fresh")],
        ),
        (
            "[source.crates-io]\nreplace-with = 'a'\n[source.a]\nlocal-registry = 'x'\n",
            [("source.crates-io", "takes crates from a local registry: nothing is fresh")],
        ),
        (
            "[source.crates-io]\nreplace-with = 'company'\n",
            [
                (
                    "source.crates-io",
                    "takes crates from another registry: units are fresh only where they were cooked through it",
                )
            ],
        ),
        ("[source.other]\ndirectory = 'vendor'\n", []),
        ("[source.crates-io]\nreplace-with = 'a'\n[source.a]\nreplace-with = 'crates-io'\n", []),
        (
            "paths = ['x']\n",
            [("paths", "replaces crates by folders: they, and all that stands on them, are compiled anew")],
        ),
        (
            "[build]\nbuild-dir = 'b'\nrustc = 'mine'\ntarget-dir = 't'\n",
            [
                ("build.build-dir", "leads away from the warm units, unless it is the images' own"),
                ("build.rustc", "names another compiler: nothing is fresh unless it is the images' own"),
            ],
        ),
    ],
)
def test_what_keeps_units_from_being_fresh_is_a_doubt(
    tmp_path: Path, config: str, doubts: list[tuple[str, str]]
) -> None:
    assert list(record(tmp_path, {CONFIG: config}).doubts) == doubts


@pytest.mark.parametrize(
    ("variables", "doubts"),
    [
        (
            'RUSTC_BOOTSTRAP = "1"',
            [("env.RUSTC_BOOTSTRAP", "is set for build scripts and compilers: what asks for it is compiled anew")],
        ),
        (
            'CFLAGS.value = "-O2"\nCFLAGS.force = true\nCC = "clang"\nRUST_LOG = "info"',
            [("env.CC", "is set for build scripts and compilers, like CFLAGS: what asks for it is compiled anew")],
        ),
        ('RUST_LOG = "info"\nRUST_BACKTRACE = "1"\nCARGO_WORKSPACE_DIR = { value = "", relative = true }', []),
        ("", []),
    ],
)
def test_variables_that_a_build_script_may_ask_for_are_a_doubt(
    tmp_path: Path, variables: str, doubts: list[tuple[str, str]]
) -> None:
    assert list(record(tmp_path, {CONFIG: f"[env]\n{variables}\n"}).doubts) == doubts


def test_many_variables_are_counted(tmp_path: Path) -> None:
    config = "[env]\n" + "".join(f'A{number:02} = "x"\n' for number in range(30))
    ((key, what),) = record(tmp_path, {CONFIG: config}).doubts
    assert key == "env.A00"
    assert "like A01, A02, A03, A04, A05, A06, A07, A08, 21 more: " in what


def test_the_nearer_file_wins_and_its_arrays_come_last(tmp_path: Path) -> None:
    files = {
        CONFIG: f'[build]\nrustflags = ["-Cfar"]\n[target.{HOST}]\nlinker = "far"\nrunner = ["far"]\n'
        "[profile.release]\nlto = true\nstrip = true\n",
        f"inner/{CONFIG}": f'[build]\nrustflags = ["-Cnear"]\n[target.{HOST}]\nlinker = "near"\n'
        "[profile.release]\nlto = false\n",
    }
    recorded = record(tmp_path, files, workspace="inner")
    assert recorded.effective_rustflags(HOST, linux) == ("-Cfar", "-Cnear")
    assert recorded.effective_linker(HOST, linux) == "near"
    assert tomli.loads(recorded.resolution) == {"profile": {"release": {"lto": False, "strip": True}}}


# The flags are those that cargo 1.95 passes, a name for each file.
@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ('include = ["a.toml"]', ("a", "own")),
        ('include = ["a.toml", "b.toml"]', ("a", "b", "own")),
        ('include = ["b.toml", "a.toml"]', ("b", "a", "own")),
        ('include = [{ path = "a.toml" }, "../c.toml"]', ("a", "c", "own")),
        ('include = [{ path = "no.toml", optional = true }, "./a.toml"]', ("a", "own")),
        ('include = ["nested.toml", "a.toml"]', ("c", "b", "nested", "a", "own")),
        ('include = ["a.toml", "../.cargo/a.toml"]', ("a", "a", "own")),
        ('[[include]]\npath = "a.toml"\n[[include]]\npath = "b.toml"', ("a", "b", "own")),
    ],
)
def test_included_files_are_read_as_cargo_does(tmp_path: Path, include: str, expected: tuple[str, ...]) -> None:
    files = {
        name: f'[build]\nrustflags = ["{Path(name).stem}"]\n' for name in (".cargo/a.toml", ".cargo/b.toml", "c.toml")
    }
    files[".cargo/nested.toml"] = 'include = ["../c.toml", "b.toml"]\n[build]\nrustflags = ["nested"]\n'
    recorded = record(tmp_path, {**files, CONFIG: f'{include}\n[build]\nrustflags = ["own"]\n'})
    assert recorded.build_rustflags == expected
    assert (recorded.doubts, recorded.ignored, recorded.unread) == ((), (), ())
    assert recorded.including == f"repo/{CONFIG}:1"


def test_a_file_wins_over_what_it_includes_and_the_last_include_over_the_first(tmp_path: Path) -> None:
    files = {
        CONFIG: 'include = ["a.toml", "b.toml"]\n[profile.release]\nlto = "own"\n',
        ".cargo/a.toml": '[profile.release]\nlto = "a"\nstrip = "a"\npanic = "a"\n',
        ".cargo/b.toml": '[profile.release]\nlto = "b"\nstrip = "b"\n',
    }
    release = tomli.loads(record(tmp_path, files).resolution)["profile"]["release"]
    assert release == {"lto": "own", "strip": "b", "panic": "a"}


def test_paths_in_an_included_file_are_relative_to_the_folder_above_its_own(tmp_path: Path) -> None:
    files = {
        CONFIG: 'include = ["../conf/p.toml"]\n',
        "conf/p.toml": 'patch.crates-io.serde.path = "dep"\nsource.v.directory = "v"\n',
    }
    assert record(tmp_path, files).patch_folders == (tmp_path / "dep",)
    assert vendored_folders(SourceTree(scan_root=tmp_path, label="repo"), tmp_path) == (tmp_path / "v",)


@pytest.mark.parametrize("name", ["no.toml", "/etc/x.toml", "../../x.toml", "link.toml"])
def test_what_is_included_and_not_in_the_repository_is_a_doubt(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {"x.toml": '[build]\nrustflags = ["-Coutside"]\n', "repo/.cargo/x": ""})
    (tmp_path / "repo/.cargo/link.toml").symlink_to("../../x.toml")
    files = {".git/HEAD": "", CONFIG: f"# ours\ninclude = ['{name}']\n"}
    write_files(tmp_path / "repo", files)
    recorded = read_recorded(SourceTree(scan_root=tmp_path, label="x"), tmp_path / "repo")
    assert (recorded.build_rustflags, recorded.unread) == ((), (name,))
    assert recorded.doubts == (
        ("include", f"names `{name}`, not in the repository: what is set there is not known here"),
    )
    assert ignored(recorded) == {"include": 2}


@pytest.mark.parametrize(
    ("include", "what"),
    [
        ('"a.toml"', "must be a list"),
        ('{ path = "a.toml" }', "must be a list"),
        ("[3]", "takes paths"),
        ("[{ optional = true }]", "takes paths"),
        ('[{ path = "a.toml", optional = 1 }]', "takes paths"),
        ('["a.txt"]', "end in `.toml`"),
        ('["{a}.toml"]', "no braces"),
        ('["a\\u0000.toml"]', "takes paths"),
        ('["a.toml", "./a.toml"]', "include each other"),
        ('["config.toml"]', "include each other"),
        ('["round.toml"]', "include each other"),
    ],
)
def test_an_include_that_cargo_refuses_is_refused(tmp_path: Path, include: str, what: str) -> None:
    files = {CONFIG: f"include = {include}\n", ".cargo/a.toml": ""}
    # Its path is another one each time, for cargo as well.
    files[".cargo/round.toml"] = 'include = ["../.cargo/round.toml"]\n'
    with pytest.raises(UnscannableError, match=what) as caught:
        record(tmp_path, files)
    assert caught.value.reason is SkipReason.MALFORMED_CONFIG
    assert caught.value.what.startswith("repo/.cargo/")


def test_files_above_the_repository_are_not_read(tmp_path: Path) -> None:
    write_files(tmp_path, {CONFIG: '[build]\nrustflags = "-Cabove"\n', "repo/.git": "gitdir: x"})
    recorded = read_recorded(SourceTree(scan_root=tmp_path, label="x"), tmp_path / "repo")
    assert recorded.build_rustflags == ()


def test_the_name_without_suffix_wins(tmp_path: Path) -> None:
    recorded = record(tmp_path, {".cargo/config": "[build]\nrustflags = '-Ca'\n", CONFIG: "[build]\nrustflags='-Cb'"})
    assert recorded.build_rustflags == ("-Ca",)
    assert [(setting.file, setting.key) for setting in recorded.ignored] == [
        ("repo/.cargo/config.toml", "(the whole file)")
    ]


def test_a_link_between_both_names_is_one_file(tmp_path: Path) -> None:
    write_files(tmp_path, {CONFIG: "[build]\nrustflags = '-Ca'\n"})
    (tmp_path / ".cargo/config").symlink_to("config.toml")
    recorded = record(tmp_path, {})
    assert recorded.build_rustflags == ("-Ca",)
    assert recorded.ignored == ()


def test_effective_linker(tmp_path: Path) -> None:
    both = "[target.'cfg(unix)']\nlinker = 'a'\n[target.'cfg(not(windows))']\nlinker = 'b'\n"
    recorded = record(tmp_path, {CONFIG: both})
    with pytest.raises(UnscannableError, match="set by both"):
        recorded.effective_linker(HOST, linux)
    assert recorded.effective_linker(HOST, windows) is None
    recorded = record(tmp_path, {CONFIG: f"{both}[target.{HOST}]\nlinker = 'c'\n"})
    assert recorded.effective_linker(HOST, linux) == "c"


@pytest.mark.parametrize(
    ("value", "expected"), [('"a-b-c"', ("a-b-c",)), ('["a", "b"]', ("a", "b")), ('"host-tuple"', ("host-tuple",))]
)
def test_build_targets(tmp_path: Path, value: str, expected: tuple[str, ...]) -> None:
    recorded = record(tmp_path, {CONFIG: f"[build]\ntarget = {value}\n"})
    assert recorded.build_targets == expected
    assert tomli.loads(recorded.resolution) == {"build": {"target": list(expected)}}


@pytest.mark.parametrize(
    "value",
    ["my/target.json", "target.json", "@/etc/passwd", "@", "-o", "", "a b", "x\\u0000", "a\\n", "\\u0430vr", "/etc/x"],
)
def test_what_is_no_triple_is_never_a_target(tmp_path: Path, value: str) -> None:
    recorded = record(tmp_path, {CONFIG: f'[build]\ntarget = "{value}"\n'})
    assert recorded.build_targets == ()
    assert recorded.resolution == ""
    assert ignored(recorded) == {"build.target": 2}


def test_triples_beside_a_file_stay(tmp_path: Path) -> None:
    recorded = record(tmp_path, {CONFIG: f'[build]\ntarget = ["@/etc/passwd", "{HOST}", "x.json"]\n'})
    assert recorded.build_targets == (HOST,)
    assert tomli.loads(recorded.resolution) == {"build": {"target": [HOST]}}
    assert ignored(recorded) == {"build.target": 2}


@pytest.mark.parametrize("known", ["company", "COMPANY", "my-company"])
@pytest.mark.parametrize("name", ["company", "Company", "my-company", "my_company"])
def test_a_registry_of_the_user_is_not_the_repositorys_to_define(tmp_path: Path, known: str, name: str) -> None:
    text = f'[registries.{name}]\nindex = "sparse+http://127.0.0.1:9/"\n'
    write_files(tmp_path, {CONFIG: text + '[registries.other]\nindex = "sparse+https://example.invalid/"\n'})
    recorded = read_recorded(SourceTree(scan_root=tmp_path, label="repo"), tmp_path, registries={known})
    same = known.lower().replace("-", "_") == name.lower().replace("-", "_")
    assert set(tomli.loads(recorded.resolution)["registries"]) == {"other"} | (set() if same else {name})
    assert ignored(recorded) == ({f"registries.{name}.index": 2} if same else {})


@pytest.mark.parametrize("name", ["crates-io", "crates_io", "CRATES-IO"])
def test_no_repository_says_where_crates_io_is(tmp_path: Path, name: str) -> None:
    recorded = record(tmp_path, {CONFIG: f'[registries.{name}]\nindex = "sparse+https://example.invalid/"\n'})
    assert recorded.resolution == ""
    assert ignored(recorded) == {f"registries.{name}.index": 2}


def test_settings_that_replace_a_build_script_are_told_apart(tmp_path: Path) -> None:
    text = f"[target.{HOST}]\nrunner = 'x'\n[target.{HOST}.ssl]\nrustc-link-lib = ['ssl']\n"
    recorded = record(tmp_path, {CONFIG: text})
    setting = recorded.build_script_override(HOST, "ssl")
    assert setting is not None
    assert setting.place == f"repo/{CONFIG}:3"
    assert recorded.build_script_override(HOST, "runner") is None
    assert recorded.build_script_override(HOST, "z") is None
    assert recorded.build_script_override("wasm32-unknown-unknown", "ssl") is None


def test_only_data_for_the_resolver_is_left(tmp_path: Path) -> None:
    config = """\
include = ["more.toml"]
paths = ["/elsewhere"]
alias.b = "!x"
[build]
rustc-wrapper = "w"
rustc-workspace-wrapper = "w"
rustc = "w"
rustflags = "-Ca"
target = ["t"]
[env]
CC = { value = "w", force = true }
RUSTC = "w"
[registry]
credential-provider = "w"
[registries.mine]
index = "sparse+https://example.invalid/"
token = "s3cret"
credential-provider = ["w", "x"]
[source.crates-io]
replace-with = "v"
[source]
v = { directory = "v" }
[target.'cfg(unix)']
linker = "w"
runner = "w"
rustflags = ["-Cb"]
[target.x86_64-unknown-linux-gnu.ssl]
rustc-link-lib = ["evil"]
[target.'cfg(']
rustflags = "-Cc"
[profile.dev]
opt-level = 1
[patch.crates-io]
serde = { path = "../other/serde", features = ["x"] }
"""
    write_files(tmp_path / "other/serde", {"Cargo.toml": ""})
    recorded = record(tmp_path, {f"inner/{CONFIG}": config}, workspace="inner")
    assert tomli.loads(recorded.resolution) == {
        "build": {"target": ["t"]},
        "patch": {"crates-io": {"serde": {"path": "../other/serde", "features": ["x"]}}},
        "profile": {"dev": {"opt-level": 1}},
        "registries": {"mine": {"index": "sparse+https://example.invalid/"}},
    }
    assert recorded.patch_folders == (tmp_path / "other/serde",)
    assert ignored(recorded) == {
        "include": 1,
        "paths": 2,
        "alias.b": 3,
        "build.rustc-wrapper": 5,
        "build.rustc-workspace-wrapper": 6,
        "build.rustc": 7,
        "env.CC": 11,
        "env.RUSTC": 12,
        "registry.credential-provider": 14,
        "registries.mine.token": 17,
        "registries.mine.credential-provider": 18,
        "source.crates-io": 19,
        "source.v": 22,
        "target.'cfg(unix)'.linker": 24,
        "target.'cfg(unix)'.runner": 25,
        "target.x86_64-unknown-linux-gnu.ssl": 27,
        "target.'cfg('.rustflags": 30,
    }
    assert "s3cret" not in repr(recorded)
    assert all(setting.why and setting.file == f"repo/inner/{CONFIG}" for setting in recorded.ignored)
    assert f"repo/inner/{CONFIG}:5: build.rustc-wrapper: names a program to run" in map(str, recorded.ignored)


def test_a_patch_keeps_its_meaning_in_another_folder(tmp_path: Path) -> None:
    config = '[patch.crates-io]\nserde = { path = "vendored/serde" }\n'
    recorded = record(tmp_path, {CONFIG: config, "a/b/x": ""}, workspace="a/b")
    assert tomli.loads(recorded.resolution)["patch"]["crates-io"]["serde"] == {"path": "../../vendored/serde"}
    assert recorded.patch_folders == (tmp_path / "vendored/serde",)


@pytest.mark.parametrize("path", ["/etc", "../../outside"])
def test_a_patch_outside_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnscannableError) as caught:
        record(tmp_path, {CONFIG: f'[patch.crates-io]\nserde = {{ path = "{path}" }}\n'})
    assert caught.value.reason is SkipReason.PATH_DEPENDENCY_OUTSIDE
    assert caught.value.what.startswith(f"repo/{CONFIG}:2: ")


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("[build\n", f"repo/{CONFIG}:1:7: "),
        ("x = 1.5\n", "type float"),
        ("x = 2026-01-01\n", "type date"),
        ("[build]\nrustflags = 3\n", "`build.rustflags`"),
        ("[build]\nrustflags = [3]\n", "`build.rustflags`"),
        ("build = 3\n", "`build`"),
        ("[target]\nx = 3\n", "`x`"),
        ("[target.x]\nlinker = ['a']\n", "`target.x.linker`"),
        ("[registries.x]\nindex = 3\n", "`registries.x.index`"),
    ],
)
def test_what_cargo_refuses_is_refused(tmp_path: Path, config: str, what: str) -> None:
    with pytest.raises(UnscannableError) as caught:
        record(tmp_path, {CONFIG: config})
    assert caught.value.reason is SkipReason.MALFORMED_CONFIG
    assert what in caught.value.what


def test_an_array_and_a_string_do_not_merge(tmp_path: Path) -> None:
    files = {CONFIG: '[build]\nrustflags = ["-Ca"]\n', f"inner/{CONFIG}": '[build]\nrustflags = "-Cb"\n'}
    with pytest.raises(UnscannableError, match="another type"):
        record(tmp_path, files, workspace="inner")
