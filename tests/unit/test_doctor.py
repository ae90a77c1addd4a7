"""`warm-doctor`, clause by clause: what a project or its surroundings break, where, and what to do."""

from __future__ import annotations

import json
import shutil
import ssl
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.consumer.misses import read_misses
from factory.scan.cargo_config import READ_BY_PROGRAMS
from tests.hostile import write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.runs_programs

DOCTOR = Path(__file__).resolve().parents[2] / "Dockerfiles" / "warm-doctor.sh"
VERBOSE = "rustc 1.95.0 (abc 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n"
CFG = 'debug_assertions\ntarget_arch="x86_64"\ntarget_os="linux"\nunix\n'
# It knows a feature and a name, and refuses all flags but those that decide a cfg.
RUSTC = f"""#!/bin/sh
case $1 in -vV) printf '{VERBOSE}' && exit ;; esac
printf '{CFG}'
shift 2
for flag; do
    case $flag in
    -Ctarget-feature=+avx2) echo 'target_feature="avx2"' ;;
    --cfg=fast) echo fast ;;
    *) exit 1 ;;
    esac
done
"""
UNITS = ("unit 1 itoa 1.0.17", "unit 1 serde 1.0.228", "unit 1 serde_derive 1.0.228", "unit 1 syn 1.0.109")
FACTS = (
    "context 1 build release - 12",
    "flags 1",
    "host x86_64-unknown-linux-gnu",
    "layer core",
    "layout build-dir",
    "release 1.95.0",
    *(f"rustc {line}" for line in VERBOSE.splitlines()),
    *UNITS,
)
MANIFEST = '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2024"\n'
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def locked(*packages: str, source: str | None = REGISTRY) -> str:
    """A Cargo.lock with `name version` packages of a source."""
    line = "" if source is None else f'source = "{source}"\n'
    tables = (package.split() for package in packages)
    return "version = 4\n" + "".join(f'\n[[package]]\nname = "{n}"\nversion = "{v}"\n{line}' for n, v in tables)


LOCK = locked("itoa 1.0.17", "serde 1.0.228")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """An image in miniature, and a project in it: what the doctor sees."""

    folder: Path
    facts: tuple[str, ...] = FACTS
    shell: tuple[str, ...] = ("sh",)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def cargo_home(self) -> Path:
        return self.folder / "cargo"

    @property
    def build_dir(self) -> Path:
        return self.folder / "build"

    @property
    def project(self) -> Path:
        return self.folder / "work" / "my app"

    def prepare(self, files: Mapping[str, str]) -> None:
        warm = (*self.facts, f"cargo-home {self.cargo_home}", f"build-dir {self.build_dir}")
        self.build_dir.mkdir(exist_ok=True)
        write_files(
            self.folder,
            {
                "share/core/warm.list": "".join(f"{line}\n" for line in sorted(warm)),
                "cargo/config.toml": f'[build]\nbuild-dir = "{self.build_dir}"\n',
                "bin/cargo": "#!/bin/sh\necho 'cargo 1.95.0 (abc 2026-04-14)'\n",
                "bin/rustc": RUSTC,
            },
        )
        write_files(self.project, {"Cargo.toml": MANIFEST, "Cargo.lock": LOCK, **files})
        for program in (self.folder / "bin").iterdir():
            program.chmod(0o755)

    def run(self, *args: str, stdin: str | None = None) -> process.Completed:
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": "/root",
            "CARGO_HOME": str(self.cargo_home),
            "WARM_DOCTOR_SHARE": str(self.folder / "share"),
            **self.environment,
        }
        command = [*self.shell, "-c", 'umask 002; exec "$@"', "sh", *self.shell, str(DOCTOR), *args]
        return process.run(command, env=environment, check=False, stdin=stdin, timeout=60)

    def examine(self) -> dict[str, Any]:
        answer = self.run("--json", str(self.project))
        assert answer.stderr == ""
        found: dict[str, Any] = json.loads(answer.stdout)
        assert answer.returncode == (0 if found["ok"] else 1)
        return found


def findings(
    folder: Path, files: Mapping[str, str], *, broken: bool = True, facts: tuple[str, ...] = FACTS, **environment: str
) -> list[tuple[str, str, str]]:
    """What the doctor says of a project: clause, place without the folder before it, and what is the matter."""
    ground = Ground(folder=folder, facts=facts, environment=environment)
    ground.prepare(files)
    found = ground.examine()
    shorter = str(ground.project) + "/"
    return [
        (row["clause"], row["place"].replace(shorter, ""), row["what"].replace(str(folder), ""))
        for row in found["findings"]
        if row["broken"] is broken and (broken or row["clause"] != "lock")
    ]


# A sound project


def shells() -> list[Any]:
    """Every POSIX shell that is here, `sh` first."""
    named = {"sh": ("sh",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}
    return [
        pytest.param(words, id=name, marks=() if shutil.which(words[0]) else pytest.mark.skip(f"no {name} here"))
        for name, words in named.items()
    ]


@pytest.mark.parametrize("shell", shells())
def test_a_sound_project_has_nothing_broken(tmp_path: Path, shell: tuple[str, ...]) -> None:
    ground = Ground(folder=tmp_path, shell=shell)
    ground.prepare({})
    found = ground.examine()
    assert found == {
        "schema": 1,
        "ok": True,
        "project": str(ground.project),
        "layers": "core",
        "release": "1.95.0",
        "lock": {"warm": 2, "at_another_version": 0, "not_warm": 0, "from_git": 0},
        "findings": [
            {
                "clause": "lock",
                "broken": False,
                "place": str(ground.project / "Cargo.lock"),
                "what": "2 of 2 locked registry packages are warm at their version, 0 at another one, 0 not at all",
                "advice": "features are compared by a build: "
                "cargo build --release --message-format=json | warm-doctor --after-build -",
            }
        ],
    }


def test_the_words_name_the_project_the_image_and_the_next_step(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    assert ground.run(str(ground.project)).stdout == (
        f"project {ground.project}\n"
        "image   layers core, rustc 1.95.0\n"
        "\n"
        f"note   lock: {ground.project}/Cargo.lock\n"
        "       2 of 2 locked registry packages are warm at their version, 0 at another one, 0 not at all\n"
        "       do: features are compared by a build: "
        "cargo build --release --message-format=json | warm-doctor --after-build -\n"
        "\n"
        "The contract holds. Count after a build: "
        "cargo build --release --message-format=json | warm-doctor --after-build -\n"
    )


def test_a_broken_clause_is_told_with_its_place_and_what_to_do(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({".cargo/config.toml": '[build]\n\nrustflags = ["-C", "target-cpu=native"]\n'})
    answer = ground.run(str(ground.project))
    assert answer.returncode == 1
    assert (
        f"BROKEN rustflags: {ground.project}/.cargo/config.toml:3\n"
        '       build.rustflags = "-C target-cpu=native": no unit was cooked with these flags, so none is fresh\n'
        "       do: unset it, or have this repository analysed, so that its units are cooked with these flags too\n"
    ) in answer.stdout
    assert answer.stdout.endswith(
        "1 found broken: the units concerned are compiled as ever, the build works all the same.\n"
    )


def test_who_cannot_write_is_not_told_that_the_build_works(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    ground.build_dir.rmdir()
    answer = ground.run(str(ground.project))
    assert answer.returncode == 1
    assert answer.stdout.endswith("1 found broken: cargo cannot build as this user here.\n")


@pytest.mark.parametrize(
    "workspace",
    ['[workspace]\nmembers = ["a"]', '\ufeff[workspace]\nmembers = ["a"]', 'workspace = {\n  members = ["a"],\n}'],
)
def test_a_member_is_examined_with_its_workspace(tmp_path: Path, workspace: str) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare(
        {
            "Cargo.toml": f"{workspace}\n\n[profile.release]\nlto = true\n",
            "a/Cargo.toml": MANIFEST,
            "a/src/lib.rs": "",
        }
    )
    answer = ground.run("--json", str(ground.project / "a" / "src"))
    document = json.loads(answer.stdout)
    assert document["project"] == str(ground.project)
    assert [row["clause"] for row in document["findings"] if row["broken"]] == ["cargo-profile"]


def test_without_a_project_the_surroundings_are_examined(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path, environment={"RUSTFLAGS": "-g"})
    ground.prepare({})
    (tmp_path / "empty").mkdir()
    document = json.loads(ground.run("--json", str(tmp_path / "empty")).stdout)
    assert [(row["clause"], row["broken"]) for row in document["findings"]] == [("project", False), ("rustflags", True)]
    assert "lock" not in document


# Clause by clause


def test_another_cargo_home(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "cargo")
    said = "units are fresh under /cargo only, and not behind a link to it"
    for other in ("/elsewhere", str(tmp_path / "link")):
        (found, *_) = findings(tmp_path, {}, CARGO_HOME=other)
        assert found == ("cargo-home", "environment", f"CARGO_HOME={other}: {said}".replace(str(tmp_path), ""))
    (unset, *_) = findings(tmp_path, {}, CARGO_HOME="")
    assert unset == (
        "cargo-home",
        "environment",
        "CARGO_HOME is not set: cargo takes /root/.cargo, and nothing is fresh",
    )


@pytest.mark.parametrize(
    ("files", "environment", "place", "what"),
    [
        ({}, {"RUSTFLAGS": "-C  target-cpu=native"}, "environment", 'RUSTFLAGS = "-C target-cpu=native"'),
        ({}, {"CARGO_ENCODED_RUSTFLAGS": "-C\x1fopt"}, "environment", 'CARGO_ENCODED_RUSTFLAGS = "-C opt"'),
        ({}, {"CARGO_BUILD_RUSTFLAGS": "-g"}, "environment", 'build.rustflags = "-g"'),
        (
            {},
            {"CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS": "-g"},
            "environment",
            'CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS = "-g"',
        ),
        ({".cargo/config.toml": 'build.rustflags = "-g"\n'}, {}, ".cargo/config.toml:1", 'build.rustflags = "-g"'),
        (
            {".cargo/config": "[build]\nrustflags = [\n  '-g', # why\n]\n"},
            {},
            ".cargo/config:2",
            'build.rustflags = "-g"',
        ),
        (
            {"../.cargo/config.toml": 'build = { rustflags = ["-g"] }\n'},
            {},
            "../.cargo/config.toml:1",
            "build.rustflags",
        ),
        (
            {".cargo/config.toml": '[target.x86_64-unknown-linux-gnu]\nrustflags = ["-g"]\n'},
            {},
            ".cargo/config.toml:2",
            'target.x86_64-unknown-linux-gnu.rustflags = "-g"',
        ),
        (
            {".cargo/config.toml": "[target.'cfg(all(unix, not(target_os = \"macos\")))']\nrustflags = ['-g']\n"},
            {},
            ".cargo/config.toml:2",
            'target.\'cfg(all(unix, not(target_os = "macos")))\'.rustflags = "-g"',
        ),
    ],
)
def test_rustflags(tmp_path: Path, files: dict[str, str], environment: dict[str, Any], place: str, what: str) -> None:
    (found,) = findings(tmp_path, files, **environment)
    assert found[0] == "rustflags"
    assert found[1] == place.replace("../", f"{tmp_path}/work/")
    assert found[2].startswith(what)


@pytest.mark.parametrize(
    "config",
    [
        "[target.'cfg(any(windows, target_os = \"macos\"))']\nrustflags = ['-g']\n",
        "[target.'cfg(not(unix))']\nrustflags = ['-g']\n",
        "[target.wasm32-unknown-unknown]\nrustflags = ['-g']\n",
        "[alias]\nrustflags = ['-g']\n",
        "# rustflags = ['-g']\n",
    ],
)
def test_flags_that_do_not_apply_break_nothing(tmp_path: Path, config: str) -> None:
    assert findings(tmp_path, {".cargo/config.toml": config}) == []


def test_flags_that_units_were_cooked_with_break_nothing_and_none_do_where_all_have_some(tmp_path: Path) -> None:
    facts = tuple(fact.replace("flags 1", "flags 1 -C target-cpu=x") for fact in FACTS)
    config = {".cargo/config.toml": "[build]\nrustflags = ['-C', 'target-cpu=x']\n"}
    assert findings(tmp_path, config, facts=facts) == []
    (found,) = findings(tmp_path, {}, facts=facts, RUSTFLAGS="")
    assert found == (
        "rustflags",
        "environment",
        'no flags, and every unit was cooked with some: "-C target-cpu=x"',
    )


def test_flags_of_several_files_are_joined_as_cargo_does(tmp_path: Path) -> None:
    facts = tuple(fact.replace("flags 1", "flags 1 -C a -C b") for fact in FACTS)
    files = {
        "../.cargo/config.toml": "[build]\nrustflags = ['-C', 'a']\n",
        ".cargo/config.toml": "[build]\nrustflags = ['-C', 'b']\n",
    }
    assert findings(tmp_path, files, facts=facts) == []


# As cargo 1.95 passes them.
@pytest.mark.parametrize("shell", shells())
@pytest.mark.parametrize(
    ("config", "flags"),
    [
        (
            "[target.x86_64-unknown-linux-gnu]\nrustflags = ['-C', 'target-feature=+avx2']\n",
            "-C target-feature=+avx2 --cfg=fast",
        ),
        ("[build]\nrustflags = ['-Clinker=evil', '-Ctarget-feature=+avx2']\n", "--cfg=fast"),
        ("[target.'cfg(unix)']\nrustflags = ['-Ctarget-feature=+avx2']\n", "-Ctarget-feature=+avx2"),
        ("[target.'cfg(unix)']\nrustflags = ['-Z']\n[target.'cfg(not(windows))']\nrustflags = ['-A']\n", "-A -Z"),
    ],
)
def test_conditions_hold_under_the_flags_that_need_none(
    tmp_path: Path, config: str, flags: str, shell: tuple[str, ...]
) -> None:
    config += "[target.'cfg(target_feature = \"avx2\")']\nrustflags = ['--cfg=fast']\n"
    ground = Ground(
        folder=tmp_path, facts=tuple(f"flags 1 {flags}" if f == "flags 1" else f for f in FACTS), shell=shell
    )
    ground.prepare({".cargo/config.toml": config})
    assert ground.examine()["ok"]


def test_the_linker_is_that_under_the_flags_in_effect(tmp_path: Path) -> None:
    config = "[build]\nrustflags = '--cfg fast'\n[target.'cfg(fast)']\nlinker = 'clang'\n"
    facts = tuple("flags 1 --cfg fast" if fact == "flags 1" else fact for fact in FACTS)
    assert [row[0] for row in findings(tmp_path, {".cargo/config.toml": config}, facts=facts)] == ["linker"]
    assert findings(tmp_path, {".cargo/config.toml": config.partition("'--cfg fast'\n")[2]}) == []


# As cargo 1.95 passes them: what is included before what the file itself has, in the order that it is named.
@pytest.mark.parametrize("shell", shells())
@pytest.mark.parametrize(
    ("include", "flags"),
    [
        ('include = ["a.toml"]', "-C a -C own"),
        ('include = [{ path = "../b b.toml" }, "a.toml", # the last\n "no.toml"]', "-C b -C a -C own"),
        ('[[include]]\npath = "nested.toml"\noptional = true', "-C a -C b -C nested -C own"),
    ],
)
def test_included_configurations_are_read(tmp_path: Path, include: str, flags: str, shell: tuple[str, ...]) -> None:
    files = {
        ".cargo/config.toml": f"{include}\n[build]\nrustflags = ['-C', 'own']\n",
        ".cargo/a.toml": "[build]\nrustflags = ['-C', 'a']\n",
        "b b.toml": "[build]\nrustflags = ['-C', 'b']\n",
        ".cargo/nested.toml": "include = ['a.toml', '../b b.toml']\n[build]\nrustflags = ['-C', 'nested']\n",
    }
    ground = Ground(
        folder=tmp_path, facts=tuple(f"flags 1 {flags}" if f == "flags 1" else f for f in FACTS), shell=shell
    )
    ground.prepare(files)
    assert ground.examine()["ok"]


def test_a_setting_in_an_included_file_is_told_with_its_place(tmp_path: Path) -> None:
    files = {
        ".cargo/config.toml": 'include = ["more.toml"]\n',
        ".cargo/more.toml": "# ours\n[build]\nrustflags = '-C a'\n",
    }
    (found,) = findings(tmp_path, files)
    assert found[:2] == ("rustflags", ".cargo/more.toml:3")


def test_files_that_include_each_other_end(tmp_path: Path) -> None:
    """Cargo refuses them."""
    assert findings(tmp_path, {".cargo/config.toml": 'include = ["config.toml"]\n'}) == []


def test_an_older_cargo_includes_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, {"old/cargo": "#!/bin/sh\necho 'cargo 1.93.1 (abc 2026-02-14)'\n"})
    (tmp_path / "old/cargo").chmod(0o755)
    files = {".cargo/config.toml": 'include = ["a.toml"]\n', ".cargo/a.toml": "[build]\nrustflags = '-C a'\n"}
    assert findings(tmp_path, files, PATH=f"{tmp_path}/old:{tmp_path}/bin:/usr/bin:/bin") == []


@pytest.mark.parametrize(
    ("name", "text", "line", "channel"),
    [
        ("rust-toolchain.toml", '[toolchain]\ncomponents = ["clippy"]\nchannel = "1.80.0"\n', 3, "1.80.0"),
        ("rust-toolchain", "nightly-2026-01-01\n", 1, "nightly-2026-01-01"),
        ("rust-toolchain", '[toolchain]\nchannel = "stable"\n', 2, "stable"),
        ("rust-toolchain.toml", 'toolchain = {\n  # ours\n  channel = "stable",\n}\n', 3, "stable"),
    ],
)
def test_a_pinned_toolchain(tmp_path: Path, name: str, text: str, line: int, channel: str) -> None:
    (without,) = findings(tmp_path, {name: text}, broken=False)
    assert without == (
        "toolchain",
        f"{name}:{line}",
        f"pins {channel}; there is no rustup here, so 1.95.0 builds all the same",
    )
    write_files(tmp_path, {"bin/rustup": "#!/bin/sh\n"})
    (found,) = findings(tmp_path, {name: text})
    assert found == (
        "toolchain",
        f"{name}:{line}",
        f"pins {channel}: rustup takes, or downloads, that toolchain, and the units are of 1.95.0",
    )


def test_the_images_own_toolchain_may_be_pinned(tmp_path: Path) -> None:
    write_files(tmp_path, {"bin/rustup": "#!/bin/sh\n"})
    assert findings(tmp_path, {"rust-toolchain.toml": '[toolchain]\nchannel = "1.95.0"\n'}) == []
    assert findings(tmp_path, {"rust-toolchain.toml": '[toolchain]\ncomponents = ["clippy"]\n'}) == []


def test_another_compiler(tmp_path: Path) -> None:
    write_files(tmp_path, {"other/rustc": "#!/bin/sh\necho 'rustc 1.80.0 (old)'\n"})
    other = tmp_path / "other" / "rustc"
    other.chmod(0o755)
    (variable,) = findings(tmp_path, {}, RUSTC=str(other))
    assert variable == (
        "toolchain",
        "environment",
        "RUSTC=/other/rustc is rustc 1.80.0 (old), and the units are of rustc 1.95.0 (abc 2026-04-14)",
    )
    (configured,) = findings(tmp_path, {".cargo/config.toml": f'[build]\nrustc = "{other}"\n'})
    assert configured[:2] == ("toolchain", ".cargo/config.toml:2")
    (on_path,) = findings(tmp_path, {".cargo/config.toml": ""}, PATH=f"{other.parent}:{tmp_path}/bin:/usr/bin:/bin")
    assert on_path[:2] == ("toolchain", "PATH")


@pytest.mark.parametrize(
    ("manifest", "place", "what"),
    [
        ("[profile.release]\nlto = true\n", "Cargo.toml:6", "lto = true: units were cooked with the default, false"),
        (
            "[profile]\nrelease.panic = 'abort'\n",
            "Cargo.toml:6",
            "panic = abort: units were cooked with the default, unwind",
        ),
        ("[profile.release]\nstrip = true\n", "Cargo.toml:6", "strip = symbols: units were cooked with the default"),
        ("[profile.release]\ndebug = 'limited'\n", "Cargo.toml:6", "debug = 1: units were cooked with the default, 0"),
        ('[profile.release.package."*"]\nopt-level = 1\n', "Cargo.toml:6", "opt-level = 1: units were cooked with"),
    ],
)
def test_a_cargo_profile_of_its_own(tmp_path: Path, manifest: str, place: str, what: str) -> None:
    (found,) = findings(tmp_path, {"Cargo.toml": MANIFEST + manifest})
    assert found[:2] == ("cargo-profile", place)
    assert found[2].startswith(f"[profile.release] {what}")


@pytest.mark.parametrize(
    "manifest",
    [
        "[profile.release]\nopt-level = 3\ndebug = false\nincremental = true\nlto = false\n",
        "[profile.dev]\nopt-level = 1\n",
        "[profile.dist]\ninherits = 'release'\nlto = true\n",
    ],
)
def test_defaults_and_cargo_profiles_that_nothing_was_cooked_for_break_nothing(tmp_path: Path, manifest: str) -> None:
    assert findings(tmp_path, {"Cargo.toml": MANIFEST + manifest}) == []


def test_cargo_profiles_of_variables_and_configuration(tmp_path: Path) -> None:
    (variable,) = findings(tmp_path, {}, CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1")
    assert variable == (
        "cargo-profile",
        "environment",
        "[profile.release] codegen-units = 1: units were cooked with the default",
    )
    config = {
        "Cargo.toml": MANIFEST + "[profile.release]\nlto = 'thin'\n",
        ".cargo/config.toml": "profile.release.lto = false\n",
    }
    # The configuration wins over the manifest, and says what cargo does anyway.
    assert findings(tmp_path, config) == []


def test_a_cargo_profile_that_was_cooked_is_held_to_all_of_its_settings(tmp_path: Path) -> None:
    facts = (*FACTS, "setting 1 codegen-units 1", "setting 1 lto thin", "override 1 opt-level 3")
    same = "[profile.release]\ncodegen-units = 1\nlto = 'thin'\n\n[profile.release.build-override]\nopt-level = 3\n"
    assert findings(tmp_path, {"Cargo.toml": MANIFEST + same}, facts=facts) == []
    half = "[profile.release]\nlto = 'thin'\n"
    assert findings(tmp_path, {"Cargo.toml": MANIFEST + half}, facts=facts) == [
        (
            "cargo-profile",
            "Cargo.toml",
            "[profile.release] has no codegen-units, and units were cooked with codegen-units = 1",
        )
    ]
    override = same.replace("opt-level = 3", "opt-level = 2")
    assert findings(tmp_path, {"Cargo.toml": MANIFEST + override}, facts=facts) == [
        (
            "cargo-profile",
            "Cargo.toml:10",
            "[profile.release.build-override.opt-level] = 2: no unit was cooked with this override",
        )
    ]


def test_the_cargo_profile_that_is_nearest_is_the_one_compared_with(tmp_path: Path) -> None:
    facts = (*FACTS, "context 2 build release - 90", "flags 2", "setting 2 lto thin", "setting 2 panic abort")
    manifest = MANIFEST + "[profile.release]\npanic = 'abort'\nlto = 'fat'\n"
    assert findings(tmp_path, {"Cargo.toml": manifest}, facts=facts) == [
        ("cargo-profile", "Cargo.toml:7", "[profile.release] lto = fat: units were cooked with thin")
    ]


def test_a_target(tmp_path: Path) -> None:
    triple = "x86_64-unknown-linux-musl"
    (configured,) = findings(tmp_path, {".cargo/config.toml": f'[build]\ntarget = "{triple}"\n'})
    assert configured[:2] == ("target", ".cargo/config.toml:2")
    assert configured[2].startswith(f'build.target = "{triple}": with --target')
    (variable,) = findings(tmp_path, {".cargo/config.toml": ""}, CARGO_BUILD_TARGET=triple)
    assert variable[:2] == ("target", "environment")
    cooked = (*FACTS, f"context 2 build release {triple} 4", "flags 2")
    assert findings(tmp_path, {}, facts=cooked, CARGO_BUILD_TARGET=triple) == []


def test_a_linker(tmp_path: Path) -> None:
    for table in ("x86_64-unknown-linux-gnu", "'cfg(unix)'"):
        (found,) = findings(tmp_path, {".cargo/config.toml": f"[target.{table}]\nlinker = 'clang'\n"})
        assert found == (
            "linker",
            ".cargo/config.toml:2",
            f'target.{table}.linker = "clang": units were cooked with rustc\'s own linker',
        )
    name = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"
    variables: dict[str, Any] = {name: "lld"}
    (variable,) = findings(tmp_path, {".cargo/config.toml": ""}, **variables)
    assert variable == ("linker", "environment", f"{name}=lld: units were cooked with rustc's own linker")
    for table in ("aarch64-unknown-linux-gnu", "'cfg(windows)'"):
        assert findings(tmp_path, {".cargo/config.toml": f"[target.{table}]\nlinker = 'clang'\n"}) == []


def test_sources_that_are_vendored_or_replaced(tmp_path: Path) -> None:
    write_files(tmp_path, {"cargo/registry/cache/index.crates.io-1949cf8c6b5b557f/x.crate": ""})
    vendored = '[source.crates-io]\nreplace-with = "vendored"\n\n[source.vendored]\ndirectory = "vendor"\n'
    (found,) = findings(tmp_path, {".cargo/config.toml": vendored})
    assert found[:2] == ("sources", ".cargo/config.toml:2")
    assert found[2].startswith("source.crates-io.replace-with: vendored sources (vendor)")
    mirror = (
        '[source.crates-io]\nreplace-with = "m"\n\n[source.m]\nregistry = "sparse+https://me@mirror.corp:8443/x/"\n'
    )
    (found,) = findings(tmp_path, {".cargo/config.toml": mirror})
    assert found[2] == (
        "source.crates-io.replace-with: crates come from the mirror sparse+https://me@mirror.corp:8443/x/, "
        "and the units were cooked from index.crates.io"
    )
    write_files(tmp_path, {"cargo/registry/cache/mirror.corp-0123456789abcdef/x.crate": ""})
    assert findings(tmp_path, {".cargo/config.toml": mirror}) == []
    (paths,) = findings(tmp_path, {".cargo/config.toml": 'paths = ["../serde"]\n'})
    assert paths[:2] == ("sources", ".cargo/config.toml:1")


def test_patched_crates_are_noted(tmp_path: Path) -> None:
    manifest = MANIFEST + "[patch.crates-io]\nserde = { path = '../serde', version = '1' }\n"
    assert findings(tmp_path, {"Cargo.toml": manifest}, broken=False) == [
        ("sources", "Cargo.toml:6", "[patch] of serde: it and all that stands on it is compiled")
    ]


def test_an_older_cargo(tmp_path: Path) -> None:
    write_files(tmp_path, {"old/cargo": "#!/bin/sh\necho 'cargo 1.85.1 (d73d2caf9 2024-12-31)'\n"})
    (tmp_path / "old/cargo").chmod(0o755)
    found = findings(tmp_path, {}, PATH=f"{tmp_path}/old:{tmp_path}/bin:/usr/bin:/bin")
    assert found == [
        ("cargo", "PATH", "cargo 1.85.1 (d73d2caf9 2024-12-31) knows no build.build-dir, which came with 1.91")
    ]


def test_no_cargo_at_all(tmp_path: Path) -> None:
    found = findings(tmp_path, {}, PATH="/usr/bin:/bin")
    assert [row[:2] for row in found] == [("cargo", "PATH"), ("toolchain", "PATH")]


def test_another_build_directory(tmp_path: Path) -> None:
    (variable,) = findings(tmp_path, {}, CARGO_BUILD_BUILD_DIR="/tmp/x")  # noqa: S108 - never made
    assert variable == ("build-dir", "environment", "CARGO_BUILD_BUILD_DIR=/tmp/x: the warm units are in /build")
    (found,) = findings(tmp_path, {".cargo/config.toml": '[build]\nbuild-dir = "target"\n'})
    assert found == ("build-dir", ".cargo/config.toml:2", 'build.build-dir = "target": the warm units are in /build')
    (note,) = findings(tmp_path, {".cargo/config.toml": ""}, broken=False, CARGO_TARGET_DIR="/t")
    assert note[:2] == ("build-dir", "environment")


def test_a_shared_target_directory_of_an_older_cargo(tmp_path: Path) -> None:
    facts = tuple(fact.replace("layout build-dir", "layout target-dir") for fact in FACTS)
    ground = Ground(folder=tmp_path, facts=facts)
    ground.prepare({})
    (ground.cargo_home / "config.toml").write_text(f'[build]\ntarget-dir = "{ground.build_dir}"\n')
    write_files(tmp_path, {"bin/cargo": "#!/bin/sh\necho 'cargo 1.85.1 (d73d2caf9 2024-12-31)'\n"})
    assert ground.examine()["ok"]
    away = replace(ground, environment={"CARGO_TARGET_DIR": "target"})
    assert [(row["clause"], row["place"]) for row in away.examine()["findings"] if row["broken"]] == [
        ("build-dir", "environment")
    ]


def test_a_replaced_configuration_of_the_image(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    (ground.cargo_home / "config.toml").write_text("[net]\nretry = 3\n")
    (found,) = (row for row in ground.examine()["findings"] if row["broken"])
    assert (found["clause"], found["place"]) == ("build-dir", str(ground.cargo_home / "config.toml"))


def test_a_lock_that_drifted(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    git = locked("ours 0.1.0", source="git+https://example.com/x#abc").removeprefix("version = 4\n")
    own = locked("app 0.1.0", source=None).removeprefix("version = 4\n")
    lock = locked("itoa 1.0.17", "serde 1.0.200", "syn 2.0.1", "tokio 1.0.0") + git + own
    ground.prepare({"Cargo.lock": lock})
    found = ground.examine()
    assert found["lock"] == {"warm": 1, "at_another_version": 1, "not_warm": 2, "from_git": 1}
    (drifted,) = (row for row in found["findings"] if row["broken"])
    assert drifted == {
        "clause": "lock",
        "broken": True,
        "place": f"{ground.project}/Cargo.lock:8",
        "what": "serde 1.0.200 is locked, and 1.0.228 is warm",
        "advice": "cargo update -p serde@1.0.200 --precise 1.0.228",
    }


def test_many_findings_of_a_clause_are_counted_and_the_first_named(tmp_path: Path) -> None:
    units = tuple(f"unit 1 crate{number} 1.0.1" for number in range(30))
    ground = Ground(folder=tmp_path, facts=(*FACTS, *units))
    ground.prepare({"Cargo.lock": locked(*(f"crate{number} 1.0.0" for number in range(30)))})
    said = ground.run(str(ground.project)).stdout
    assert said.count("BROKEN lock: ") == 10
    assert "and 20 more of lock: --json names all\n" in said
    assert len(ground.examine()["findings"]) == 31


def test_no_lock(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    (ground.project / "Cargo.lock").unlink()
    (found,) = (row for row in ground.examine()["findings"] if row["broken"])
    assert (found["clause"], found["place"]) == ("lock", str(ground.project / "Cargo.toml"))


def test_a_missing_directory(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    ground.build_dir.rmdir()
    (found,) = (row for row in ground.examine()["findings"] if row["broken"])
    assert (found["clause"], found["place"], found["what"]) == ("owner", str(ground.build_dir), "is not there")


def test_wrappers_are_noted(tmp_path: Path) -> None:
    said = "fresh units stay fresh and never reach it"
    assert findings(tmp_path, {}, broken=False, RUSTC_WRAPPER="sccache") == [
        ("wrapper", "environment", f"RUSTC_WRAPPER=sccache: {said}")
    ]
    config = {".cargo/config.toml": "[build]\nrustc-wrapper = 'sccache'\n"}
    assert findings(tmp_path, config, broken=False) == [
        ("wrapper", ".cargo/config.toml:2", f'build.rustc-wrapper = "sccache": {said}')
    ]


def test_variables_that_a_build_script_may_ask_for_are_noted(tmp_path: Path) -> None:
    config = "[env]\nRUST_LOG = 'info'\nCC = { value = 'clang', force = true }\n[env.CFLAGS]\nvalue = '-O2'\n"
    said = "units whose build script or macros ask for it are compiled"
    assert findings(tmp_path, {".cargo/config.toml": config}, broken=False) == [
        ("variables", ".cargo/config.toml:3", f"[env] sets CC: {said}"),
        ("variables", ".cargo/config.toml:5", f"[env] sets CFLAGS: {said}"),
    ]


def test_variables_of_the_images_own_configuration_are_those_of_its_units(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    with (ground.cargo_home / "config.toml").open("a") as stream:
        stream.write("[env]\nCC = 'clang'\n")
    assert [row["clause"] for row in ground.examine()["findings"]] == ["lock"]


def test_the_doctor_and_the_analysis_know_the_same_variables() -> None:
    (line,) = (line for line in DOCTOR.read_text().splitlines() if line.startswith("READ_BY_PROGRAMS="))
    assert set(line.partition("=")[2].strip("'").split()) == READ_BY_PROGRAMS


def test_a_file_that_is_no_toml_is_noted_and_the_rest_is_read(tmp_path: Path) -> None:
    files = {"Cargo.toml": MANIFEST + "[profile.release]\nlto = true\n= oops\n"}
    (note,) = findings(tmp_path, files, broken=False)
    assert note == ("project", "Cargo.toml", "cannot be read to its end as TOML")
    assert [row[0] for row in findings(tmp_path, files)] == ["cargo-profile"]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        (
            ".cargo/config.toml",
            "[target]\n'cfg(unix)' = { # ours\n  runner = \"\\e\", # don't\n  rustflags = [\n    '-g', # {\n  ],\n}\n",
            ("rustflags", 4, "target.'cfg(unix)'.rustflags = \"-g\""),
        ),
        (
            ".cargo/config.toml",
            "x = [{\n  # don't }\n  a = 1,\n}]\nbuild = {\n  rustflags = ['-g'],\n}\n",
            ("rustflags", 6, 'build.rustflags = "-g"'),
        ),
        (
            "Cargo.toml",
            f"{MANIFEST}[profile]\nrelease = {{\n  # small\n  lto = true,\n}}\n",
            ("cargo-profile", 8, "[profile.release] lto = true"),
        ),
        (".cargo/config.toml", "\ufeff[build]\nrustflags = '-g'\n", ("rustflags", 2, 'build.rustflags = "-g"')),
    ],
)
def test_inline_tables_of_several_lines_are_read(
    tmp_path: Path, name: str, text: str, found: tuple[str, int, str]
) -> None:
    (row,) = findings(tmp_path, {name: text})
    clause, line, what = found
    assert row[:2] == (clause, f"{name}:{line}")
    assert row[2].startswith(what)


def test_odd_toml_is_read_as_toml(tmp_path: Path) -> None:
    text = (
        "# [build]\n# rustflags = ['-x']\n"
        'note = """\n[build]\nrustflags = ["-x"]\n"""\n'
        "words = '# no comment'\n"
        'list = [{ a = "}" }, "b"]\n'
        '"build" . "jobs" = 2\n'
        "[[things]]\nrustflags = 1\n"
        '[target."x/y"]\nrunner = "a\\"b"\n'
        "[build]\r\nrustflags = '-g' # real\r\n"
    )
    (found,) = findings(tmp_path, {".cargo/config.toml": text})
    assert found[:2] == ("rustflags", ".cargo/config.toml:15")
    assert found[2].startswith('build.rustflags = "-g"')


# After a build


def message(package: str, *, fresh: bool, kind: str = "lib", source: str = REGISTRY) -> str:
    return json.dumps(
        {
            "reason": "compiler-artifact",
            "package_id": f"{source}#{package.replace(' ', '@')}",
            "target": {"kind": [kind]},
            "fresh": fresh,
        },
        separators=(",", ":"),
    )


def finished(*, success: bool = True) -> str:
    return json.dumps({"reason": "build-finished", "success": success}, separators=(",", ":"))


BUILT = "\n".join(
    (
        message("itoa 1.0.17", fresh=True),
        message("serde 1.0.228", fresh=True),
        message("serde_derive 1.0.228", fresh=False),
        message("syn 2.0.1", fresh=False),
        message("tokio 1.0.0", fresh=False, kind="custom-build"),
        message("app 0.1.0", fresh=False, source="path+file:///work/app"),
        "what a build script prints",
        finished(),
    )
)


@pytest.mark.parametrize("shell", shells())
def test_hits_are_counted_and_misses_explained(tmp_path: Path, shell: tuple[str, ...]) -> None:
    ground = Ground(folder=tmp_path, shell=shell)
    ground.prepare({})
    answer = ground.run("--after-build", "--json", "-", stdin=BUILT)
    assert json.loads(answer.stdout) == {
        "schema": 1,
        "ok": True,
        "build_succeeded": True,
        "fresh": 2,
        "total": 5,
        "misses": [
            {
                "unit": "serde_derive 1.0.228",
                "reason": "warm at this version: other features, another cargo profile, or something below it differs",
            },
            {"unit": "syn 2.0.1", "reason": "warm at another version: 1.0.109"},
            {"unit": "tokio 1.0.0 (build script)", "reason": "not in this image"},
        ],
    }
    assert answer.returncode == 0
    assert ground.run("--after-build", "-", stdin=BUILT).stdout.startswith(
        "2 of 5 compiled units of registries were fresh (40 %)\n  missed  serde_derive 1.0.228: warm at this version"
    )


def test_a_gate_on_the_hits(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({"messages.json": BUILT})
    file = str(ground.project / "messages.json")
    assert ground.run("--after-build", "--min-hit", "40", file).returncode == 0
    refused = ground.run("--after-build", "--min-hit", "41", file)
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1].startswith("Too few: 41 % were asked for.")


def test_a_failed_build_is_not_well(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    failed = ground.run(
        "--after-build", "-", stdin=f"{message('itoa 1.0.17', fresh=True)}\n{finished(success=False)}\n"
    )
    assert failed.returncode == 1
    assert "The build failed" in failed.stdout
    cut = ground.run("--after-build", "-", stdin=message("itoa 1.0.17", fresh=True))
    assert (cut.returncode, cut.stdout) == (2, "")
    assert "holds no messages of a build that came to its end" in cut.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--what",), "--what: no such option"),
        (("a", "b"), "b: one argument too many"),
        (("/no/such/place",), "/no/such/place: no such directory"),
        (("--after-build",), "name the file"),
        (("--after-build", "/no/such/file"), "/no/such/file: no such file"),
        (("--after-build", "--min-hit", "lots", "-"), "--min-hit lots: write a whole percentage"),
        (("--min-hit", "90", "."), "--min-hit goes with --after-build"),
    ],
)
def test_wrong_usage(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    ground = Ground(folder=tmp_path)
    ground.prepare({})
    answer = ground.run(*args, stdin="")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert "usage: warm-doctor" in answer.stderr


def test_outside_of_an_image(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path, environment={"WARM_DOCTOR_SHARE": str(tmp_path / "none")})
    ground.prepare({})
    answer = ground.run()
    assert (answer.returncode, answer.stdout) == (4, "")
    assert "not an image that factory built" in answer.stderr


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    ground = Ground(folder=tmp_path, environment={"TMPDIR": str(tmp_path / "tmp")})
    ground.prepare({})
    ground.examine()
    assert list((tmp_path / "tmp").iterdir()) == []


# Miss reports


def built(*packages: str, fresh: bool) -> str:
    """What cargo says of crates with the feature `std`."""
    return "\n".join(
        message(package, fresh=fresh).replace('"fresh"', '"features":["default","std"],"fresh"') for package in packages
    )


REPORTED = "\n".join(
    (
        built("itoa 1.0.17", fresh=True),
        built("syn 2.0.1", fresh=False),
        message("tokio 1.0.0", fresh=False, kind="custom-build"),
        message("inside 1.0.0", fresh=False, source="registry+https://crates.example.org/index"),
        message("app 0.1.0", fresh=False, source="path+file:///work/app"),
        finished(),
    )
)
CHAINS = (*FACTS, "chain core", "chain core web", f"plan core {'1' * 64}", f"plan web {'0' * 64}")


class Server:
    """A server on loopback that keeps what it gets: what begins with `/gone` is refused, `/moved` redirects."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, str | None, str]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                got.append((self.command, self.path, self.headers["Authorization"], body))
                self.send_response({"/gone": 410, "/move": 307}.get(self.path[:5], 201))
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = answer  # noqa: N815 - named by the library

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self.listening = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.listening.server_port}"
        self.thread = threading.Thread(target=self.listening.serve_forever)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    with made.listening:
        made.thread.start()
        yield made
        made.listening.shutdown()
        made.thread.join()


def reporting(
    folder: Path, *args: str, shell: tuple[str, ...] = ("sh",), environment: Mapping[str, str] | None = None
) -> process.Completed:
    ground = Ground(folder=folder, facts=CHAINS, shell=shell, environment=dict(environment or {}))
    ground.prepare({})
    return ground.run("--after-build", "--report-as", "org/shop", *args, "-", stdin=REPORTED)


@pytest.mark.parametrize("shell", shells())
def test_a_miss_report_is_one_that_a_plan_reads(tmp_path: Path, shell: tuple[str, ...]) -> None:
    answer = reporting(tmp_path, "--report-to", str(tmp_path / "new" / "misses"), shell=shell)
    assert answer.returncode == 0
    assert answer.stdout.startswith("1 of 4 compiled units of registries were fresh (25 %)")
    (place,) = (tmp_path / "new" / "misses").iterdir()
    assert answer.stderr == f"reported to {place}\n"
    (read,) = read_misses([place.parent])
    assert read.model_dump(mode="json", by_alias=True, exclude={"date"}) == {
        "schema": 1,
        "repo": "org/shop",
        "plan": "0" * 64,
        "rustc": "1.95.0",
        "variant": "release",
        "image": "web",
        "units": {"total": 4, "hit": 1},
        "hits": [],
        "warm": [row("itoa", "1.0.17", features=["default", "std"])],
        "misses": [
            row("syn", "2.0.1", features=["default", "std"], causes=["version"]),
            row("tokio", "1.0.0", kind="custom-build"),
        ],
    }
    reporting(tmp_path, "--report-to", str(tmp_path / "new" / "misses"), shell=shell)
    assert len(list(place.parent.iterdir())) == 1


def row(crate: str, version: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    known: dict[str, object] = {"key": None, "features": None, "kind": "lib", "seconds": None, "causes": []}
    return known | {"crate": crate, "version": version} | changes


@pytest.mark.parametrize("sender", ["curl", "by hand"])
def test_a_miss_report_is_sent(tmp_path: Path, server: Server, sender: str) -> None:
    if sender == "by hand":
        without(tmp_path, "curl")
    path = {"PATH": f"{tmp_path / 'bin'}:{tmp_path / 'some'}"} if sender == "by hand" else {}
    for end in ("/misses/", "/collect?key=s3cret"):
        told = reporting(
            tmp_path, "--report-to", f"{server.url}{end}", environment={"FACTORY_REPORT_TOKEN": 't"k\\n'} | path
        )
        assert (told.returncode, "s3cret" in told.stderr) == (0, False)
        assert told.stderr.startswith(f"reported to {server.url}/")
    (put, post) = server.got
    assert (put[0], post[:2]) == ("PUT", ("POST", "/collect?key=s3cret"))
    assert put[1].startswith("/misses/")
    assert put[1].endswith(".json")
    assert put[2] == post[2] == 'Bearer t"k\\n'
    assert put[3] == post[3]
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "1.json").write_text(put[3], encoding="utf-8")
    assert [report.repo for report in read_misses([tmp_path / "got"])] == ["org/shop"]


def without(folder: Path, left_out: str) -> None:
    """A directory `some` with links to all programs of this machine but one."""
    (folder / "some").mkdir()
    for place in (Path("/bin"), Path("/usr/bin")):
        for program in place.iterdir():
            link = folder / "some" / program.name
            if program.name != left_out and not link.is_symlink():
                link.symlink_to(program)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_a_slim_image_sends_through_openssl(tmp_path: Path, server: Server) -> None:
    without(tmp_path, "curl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2", "-nodes"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", *words, "-keyout", key, "-out", certificate]
    process.run([str(word) for word in made], timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.listening.socket = context.wrap_socket(server.listening.socket, server_side=True)
    url = server.url.replace("http://127.0.0.1", "https://localhost")
    path = {"PATH": f"{tmp_path / 'bin'}:{tmp_path / 'some'}"}
    trusting = path | {"SSL_CERT_FILE": str(certificate)}
    told = reporting(tmp_path, "--report-to", f"{url}/x", environment=trusting)
    assert (told.returncode, told.stderr) == (0, f"reported to {url}/x\n")
    assert [got[:2] for got in server.got] == [("POST", "/x")]
    refused = reporting(tmp_path, "--report-to", f"{url}/x", environment=path)
    assert refused.stderr.startswith("warning: ")
    assert len(server.got) == 1


@pytest.mark.parametrize("sender", ["curl", "by hand"])
def test_a_report_that_cannot_be_delivered_is_a_warning(tmp_path: Path, server: Server, sender: str) -> None:
    path = {"PATH": f"{tmp_path / 'bin'}:{tmp_path / 'some'}"} if sender == "by hand" else {}
    if path:
        without(tmp_path, "curl")
    (tmp_path / "file").write_text("", encoding="utf-8")
    places = {
        f"{server.url}/gone?key=s3cret": "the server answered 410",
        f"{server.url}/moved": "the server answered 307",
        "http://127.0.0.1:9/x": "",
        str(tmp_path / "file"): "",
    }
    for target, why in places.items():
        told = reporting(tmp_path, "--report-to", target, environment={"FACTORY_REPORT_TOKEN": "t0ken"} | path)
        assert (told.returncode, "s3cret" in told.stderr, "t0ken" in told.stderr) == (0, False, False), told.stderr
        assert told.stderr.startswith("warning: ")
        assert "the miss report cannot be delivered" in told.stderr
        assert why in told.stderr
        assert told.stderr.count("\n") == 1
        failed = reporting(tmp_path, "--report-to", target, "--require-report", environment=path)
        assert failed.returncode == 4
    assert {path for _, path, _, _ in server.got} == {"/gone?key=s3cret", "/moved"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://reports.example.org/", "is not sent without TLS"),
        ("https://user:s3cret@reports.example.org/", "put what logs in into FACTORY_REPORT_TOKEN"),
        ("ftp://127.0.0.1/", "write https://HOST/PATH, or a folder"),
        ("https:///x", "a URL without a host"),
        ("http://127.0.0.1/a b", "odd character in a URL"),
    ],
)
def test_targets_that_are_refused(tmp_path: Path, target: str, said: str) -> None:
    refused = reporting(tmp_path, "--report-to", target, environment={"FACTORY_REPORT_TOKEN": "t0ken"})
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert "s3cret" not in refused.stderr


def test_a_failed_build_is_not_reported(tmp_path: Path) -> None:
    ground = Ground(folder=tmp_path, facts=CHAINS)
    ground.prepare({})
    failed = ground.run(
        "--after-build", "--report-to", str(tmp_path / "new"), "-", stdin=REPORTED.replace("true}", "false}")
    )
    assert (failed.returncode, failed.stderr.startswith("note: no miss report")) == (1, True)
    assert not (tmp_path / "new").exists()
    assert "--report-to goes with --after-build" in ground.run("--report-to", "x", ".").stderr
