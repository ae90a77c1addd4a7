"""A unit key is right when it foretells cargo: what has the key of a cooked unit is fresh, and nothing else is."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.cargo.toolchain import find_toolchain
from factory.model import Side
from tests.cargo.scenario import HOST, Build, Kitchen, Resolved, Warm, Workspace, identities

if TYPE_CHECKING:
    from pathlib import Path

    from factory.model import Unit

pytestmark = pytest.mark.cargo

LIGHT = Workspace(
    dependencies=(
        "cfg-if = '1'",
        "itoa = '1'",
        "log = '0.4'",
        # Has a build script and a `links` name, and unicode-ident on the target side.
        "wasm-bindgen-shared = '0.2'",
        # A proc-macro on proc-macro2, quote and, on the host side, unicode-ident.
        "proc-macro-error-attr2 = '2'",
    )
)
RICH = replace(
    LIGHT,
    dependencies=(
        *LIGHT.dependencies,
        "anyhow = '1'",
        "bitflags = '2'",
        "libc = '0.2'",
        "serde = { version = '1', features = ['derive'] }",
    ),
)


def release(table: str) -> str:
    """Return `[profile.release]` with one line in it."""
    return f"[profile.release]\n{table}\n"


def with_lto(*, members: Mapping[str, str] | None = None, lib: str | None = None, is_bin: bool = True) -> Build:
    """Return a build with fat LTO, in which libraries are linked by crate types that take part in it or do not."""
    return Build(
        workspace=Workspace(
            dependencies=("itoa = '1'", "log = '0.4'", "wasm-bindgen-shared = '0.2'"),
            tables=release("lto = true"),
            members=members or {},
            lib=lib,
            is_bin=is_bin,
        )
    )


TWO_VERSIONS = Workspace(
    dependencies=(
        "itoa = '1'",
        "itoa_old = { package = 'itoa', version = '0.4', features = ['i128'] }",
        "bitflags = '2'",
        "bitflags_old = { package = 'bitflags', version = '1' }",
    )
)
BOTH_SIDES = Workspace(
    dependencies=("cfg-if = '1'", "log = { version = '0.4', features = ['std'] }", "libc = '0.2'"),
    build_dependencies=("cfg-if = '1'", "log = '0.4'", "libc = { version = '0.2', default-features = false }"),
)
MACRO_ON_TARGET = Workspace(
    dependencies=(
        "proc-macro-error-attr2 = '2'",
        "proc-macro2 = { version = '1', default-features = false }",
        "quote = { version = '1', default-features = false }",
    )
)
SAME_MACRO_ON_TARGET = Workspace(
    dependencies=("proc-macro-error-attr2 = '2'", "proc-macro2 = '1'", "unicode-ident = '1'")
)
LOG_PLAIN = Workspace(dependencies=("log = '0.4'", "cfg-if = '1'"))
LOG_STD = Workspace(dependencies=("log = { version = '0.4', features = ['std'] }", "cfg-if = '1'"))
FLAGS = ("-C", "force-frame-pointers=yes")
FLAGGED = Build(
    workspace=replace(LIGHT, config=f"[build]\nrustflags = {json.dumps(FLAGS)}\n"), rustflags={None: FLAGS}
)
CROSS = Build(workspace=LIGHT, args=("--target", HOST))
CUSTOM_PROFILE = replace(LIGHT, tables="[profile.dist]\ninherits = 'release'\ncodegen-units = 1\n")
OVERRIDES = replace(
    LIGHT,
    tables="[profile.release.package.itoa]\nopt-level = 1\n[profile.release.package.proc-macro2]\nopt-level = 2\n"
    "[profile.release.build-override]\ncodegen-units = 4\n",
)
PLUGIN = {"plugin": "[lib]\ncrate-type = ['cdylib', 'rlib']\n[dependencies]\nitoa = '1'\nlibc = '0.2'\n"}

BUILDS: Mapping[str, tuple[Build, ...]] = {
    "release": (Build(workspace=RICH),),
    "debug": (Build(workspace=LIGHT, variant="dev"), Build(workspace=LIGHT, variant="check:dev")),
    "shapes in release": (
        Build(workspace=TWO_VERSIONS),
        Build(workspace=BOTH_SIDES),
        Build(workspace=MACRO_ON_TARGET),
        Build(workspace=SAME_MACRO_ON_TARGET),
    ),
    "shapes in dev": (
        Build(workspace=TWO_VERSIONS, variant="dev"),
        Build(workspace=BOTH_SIDES, variant="dev"),
        Build(workspace=MACRO_ON_TARGET, variant="dev"),
        Build(workspace=SAME_MACRO_ON_TARGET, variant="dev"),
    ),
    "contexts": (
        FLAGGED,
        CROSS,
        Build(workspace=CUSTOM_PROFILE, variant="dist"),
        Build(workspace=OVERRIDES),
    ),
    "lto of a binary beside a cdylib": (with_lto(members=PLUGIN),),
    "lto of a cdylib": (with_lto(lib="crate-type = ['cdylib']", is_bin=False),),
    "lto of a dylib": (with_lto(lib="crate-type = ['dylib']", is_bin=False),),
    "conflicting features": (Build(workspace=LOG_PLAIN), Build(workspace=LOG_STD)),
}
"""What each shared warm directory is cooked for."""


class Fresh(enum.Enum):
    """Which of a build's registry units have to be fresh; elsewhere a number says how many."""

    ALL = enum.auto()
    NONE = enum.auto()
    HOST_SIDE = enum.auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One build against a warm directory."""

    name: str
    fresh: Fresh | int
    build: Build = field(default_factory=lambda: Build(workspace=LIGHT))
    warm: str = "release"


def light(name: str, fresh: Fresh | int, *, tables: str = "", config: str = "", variant: str = "release") -> Row:
    """Return a row for the light workspace with more in its manifest or its configuration."""
    return Row(
        name=name, fresh=fresh, build=Build(workspace=replace(LIGHT, tables=tables, config=config), variant=variant)
    )


def rich(name: str, fresh: Fresh | int, workspace: Workspace, *, folder: str = "consumer") -> Row:
    """Return a row for a release build of a variety of the rich workspace."""
    return Row(name=name, fresh=fresh, build=Build(workspace=workspace, folder=folder))


def with_feature(crate: str, line: str) -> Workspace:
    """Return the rich workspace with another line for one crate."""
    kept = tuple(each for each in RICH.dependencies if not each.startswith(f"{crate} ="))
    return replace(RICH, dependencies=(*kept, line))


SAME_CLOSURE = (
    rich("as cooked", Fresh.ALL, RICH),
    rich("other path", Fresh.ALL, RICH, folder="elsewhere/a folder/ünïcode"),
    rich("other name and version", Fresh.ALL, replace(RICH, name="serde-user", version="7.8.9")),
    rich("edition 2018", Fresh.ALL, replace(RICH, edition="2018")),
    rich("edition 2024", Fresh.ALL, replace(RICH, edition="2024")),
    rich("lints", Fresh.ALL, replace(RICH, tables="[lints.rust]\nunsafe_code = 'forbid'\n")),
    rich("resolver 1", Fresh.ALL, replace(RICH, resolver="1")),
    rich("resolver 3", Fresh.ALL, replace(RICH, resolver="3")),
    rich("incremental in the profile", Fresh.ALL, replace(RICH, tables=release("incremental = true"))),
    rich("incremental by config", Fresh.ALL, replace(RICH, config="[build]\nincremental = true\n")),
    rich("a library too", Fresh.ALL, replace(RICH, lib="crate-type = ['lib']")),
    rich("a cdylib, without LTO", Fresh.ALL, replace(LIGHT, lib="crate-type = ['cdylib']", is_bin=False)),
    rich("lto = false, in words", Fresh.ALL, replace(RICH, tables=release("lto = false"))),
    rich("fewer crates", Fresh.ALL, LIGHT),
    rich(
        "renamed",
        Fresh.ALL,
        Workspace(dependencies=("numbers = { package = 'itoa', version = '1' }", "errors = { package = 'anyhow', version = '1' }")),
    ),
    rich(
        "target-specific",
        Fresh.ALL,
        Workspace(
            tables="[target.'cfg(unix)'.dependencies]\nlibc = '0.2'\n"
            "[target.'cfg(windows)'.dependencies]\nwindows-link = '0.2'\n"
        ),
    ),
)
OTHER_CLOSURE = (
    rich("a feature of a leaf", 35, with_feature("log", "log = { version = '0.4', features = ['std'] }")),
    rich("a feature of serde", 30, with_feature("serde", "serde = { version = '1', features = ['derive', 'rc'] }")),
    rich("a patch of a leaf", 35, replace(RICH, versions={"itoa": "1.0.18"})),
    rich("a patch of a leaf with a build script", 33, replace(RICH, versions={"libc": "0.2.183"})),
    rich("a patch of unicode-ident", 19, replace(RICH, versions={"unicode-ident": "1.0.24"})),
    rich("a patch of proc-macro2", 26, replace(LIGHT, versions={"proc-macro2": "1.0.106"})),
    rich("one more crate", 16, replace(LIGHT, dependencies=(*LIGHT.dependencies, "bitflags_old = { package = 'bitflags', version = '1' }"))),
)
PROFILES = (
    light("opt-level = 2", Fresh.HOST_SIDE, tables=release("opt-level = 2")),
    light("opt-level = 's'", Fresh.HOST_SIDE, tables=release("opt-level = 's'")),
    light("codegen-units", Fresh.HOST_SIDE, tables=release("codegen-units = 1")),
    light("panic", Fresh.HOST_SIDE, tables=release("panic = 'abort'")),
    light("lto = thin", Fresh.NONE, tables=release("lto = 'thin'")),
    light("lto = fat", Fresh.NONE, tables=release("lto = 'fat'")),
    light("lto = true", Fresh.NONE, tables=release("lto = true")),
    light("lto = off", Fresh.NONE, tables=release("lto = 'off'")),
    light("debug", Fresh.NONE, tables=release("debug = true")),
    light("debug = line-tables-only", Fresh.NONE, tables=release("debug = 'line-tables-only'")),
    light("strip", Fresh.NONE, tables=release("strip = 'symbols'")),
    light("overflow-checks", Fresh.NONE, tables=release("overflow-checks = true")),
    light("debug-assertions", Fresh.NONE, tables=release("debug-assertions = true")),
    light("split-debuginfo", Fresh.NONE, tables=release("split-debuginfo = 'packed'")),
    light("rpath", Fresh.NONE, tables=release("rpath = true")),
    light("profile by config", Fresh.HOST_SIDE, config=release("opt-level = 2")),
    light("build-override.opt-level", 4, tables="[profile.release.build-override]\nopt-level = 1\n"),
    light("build-override.debug", 4, tables="[profile.release.build-override]\ndebug = 1\n"),
    light("build-override.codegen-units", 4, tables="[profile.release.build-override]\ncodegen-units = 1\n"),
    light("override of a package", 15, tables="[profile.release.package.itoa]\nopt-level = 1\n"),
    light("override of every package", 4, tables="[profile.release.package.'*']\ndebug-assertions = true\n"),
    light("custom profile", Fresh.NONE, tables="[profile.dist]\ninherits = 'release'\n", variant="dist"),
)
COMMANDS = (
    light("dev", Fresh.NONE, variant="dev"),
    light("check", Fresh.NONE, variant="check:dev"),
    light("check --release", Fresh.HOST_SIDE, variant="check:release"),
    light("test --release --no-run", Fresh.ALL, variant="test:release"),
    light("test --no-run", Fresh.NONE, variant="test:dev"),
)
SURROUNDINGS = (
    Row(
        name="RUSTFLAGS in the environment",
        fresh=Fresh.NONE,
        build=Build(workspace=LIGHT, environment={"RUSTFLAGS": " ".join(FLAGS)}, rustflags={None: FLAGS}),
    ),
    Row(name="build.rustflags", fresh=Fresh.NONE, build=FLAGGED),
    Row(
        name="target.*.rustflags",
        fresh=Fresh.NONE,
        build=Build(
            workspace=replace(LIGHT, config=f"[target.{HOST}]\nrustflags = {json.dumps(FLAGS)}\n"),
            rustflags={None: FLAGS},
        ),
    ),
    Row(
        name="a linker",
        fresh=Fresh.NONE,
        build=Build(workspace=replace(LIGHT, config=f"[target.{HOST}]\nlinker = 'cc'\n"), linkers={None: "cc"}),
    ),
    Row(name="--target", fresh=Fresh.HOST_SIDE, build=CROSS),
    Row(
        name="build.target",
        fresh=Fresh.HOST_SIDE,
        build=Build(workspace=replace(LIGHT, config=f"[build]\ntarget = '{HOST}'\n")),
    ),
    Row(
        name="--target with RUSTFLAGS",
        fresh=Fresh.HOST_SIDE,
        build=replace(CROSS, environment={"RUSTFLAGS": " ".join(FLAGS)}, rustflags={None: FLAGS, HOST: FLAGS}),
    ),
    Row(
        name="--target with a linker",
        fresh=Fresh.NONE,
        build=Build(
            workspace=replace(LIGHT, config=f"[target.{HOST}]\nlinker = 'cc'\n"),
            args=("--target", HOST),
            linkers={None: "cc", HOST: "cc"},
        ),
    ),
)
COOKED_FOR_IT = tuple(
    Row(name=f"{warm}: {number}", fresh=Fresh.ALL, build=build, warm=warm)
    for warm, builds in BUILDS.items()
    for number, build in enumerate(builds, start=1)
    if warm != "release"
)
CROSSWISE = (
    Row(
        name="test --no-run on what was cooked for dev",
        fresh=Fresh.ALL,
        build=Build(workspace=LIGHT, variant="test:dev"),
        warm="debug",
    ),
    Row(
        name="check of another shape on what was cooked for dev and check",
        fresh=4,
        build=Build(workspace=BOTH_SIDES, variant="check:dev"),
        warm="debug",
    ),
    Row(
        name="resolver 1 where features differ between the sides",
        fresh=4,
        build=Build(workspace=replace(BOTH_SIDES, resolver="1")),
        warm="shapes in release",
    ),
    Row(
        name="other RUSTFLAGS than cooked",
        fresh=0,
        build=Build(
            workspace=replace(LIGHT, config="[build]\nrustflags = ['-C', 'force-frame-pointers=no']\n"),
            rustflags={None: ("-C", "force-frame-pointers=no")},
        ),
        warm="contexts",
    ),
    Row(
        name="LTO of the binary alone where a cdylib was cooked beside it",
        fresh=3,
        build=with_lto(),
        warm="lto of a binary beside a cdylib",
    ),
)
ROWS = (*SAME_CLOSURE, *OTHER_CLOSURE, *PROFILES, *COMMANDS, *SURROUNDINGS, *COOKED_FOR_IT, *CROSSWISE)


class Pantry:
    """The shared warm directories, each cooked when it is first asked for."""

    def __init__(self, kitchen: Kitchen) -> None:
        self.kitchen = kitchen
        self._tried: set[str] = set()
        self._cooked: dict[str, Warm] = {}

    def warm(self, name: str) -> Warm:
        """Return the warm directory of that name; what cannot be cooked is not tried for every row again."""
        if name not in self._tried:
            self._tried.add(name)
            self._cooked[name] = self.kitchen.cook(*BUILDS[name])
        assert name in self._cooked, f"cooking {name!r} failed before"
        return self._cooked[name]


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    return Kitchen(tmp_path_factory.mktemp("kitchen"), find_toolchain())


@pytest.fixture(scope="module")
def pantry(kitchen: Kitchen) -> Pantry:
    return Pantry(kitchen)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_predicted_fresh_is_what_cargo_reports_fresh(row: Row, kitchen: Kitchen, pantry: Pantry) -> None:
    warm = pantry.warm(row.warm)
    resolved = kitchen.resolve(row.build)

    fresh = assert_foretold(kitchen, row.build, resolved, warm)

    assert len(resolved.registry) > 0
    assert len(fresh) == expected_number(row.fresh, resolved), [unit.label for unit in fresh]
    if row.fresh is Fresh.HOST_SIDE:
        assert all(unit.sides == {Side.HOST} for unit in fresh)


@pytest.mark.parametrize("name", BUILDS)
def test_recipes_make_the_wanted_units_and_no_others(name: str, pantry: Pantry) -> None:
    warm = pantry.warm(name)

    assert warm.wanted
    assert warm.made == warm.wanted
    assert {key for recipe in warm.recipes for key in recipe.keys} == warm.wanted


def test_conflicting_features_make_two_recipes(pantry: Pantry) -> None:
    assert len(pantry.warm("conflicting features").recipes) == 2


def test_a_restricted_set_is_cooked_exactly(kitchen: Kitchen) -> None:
    build = Build(workspace=LIGHT)

    warm = kitchen.cook(build, without=frozenset({"quote", "log"}))

    resolved = kitchen.resolve(build)
    left_out = {"quote", "log", "proc-macro-error-attr2"}
    assert warm.made == warm.wanted
    assert {unit.package.name for unit in resolved.registry if unit.key not in warm.made} == left_out
    fresh = assert_foretold(kitchen, build, resolved, warm)
    assert len(fresh) == len(resolved.registry) - 5


@pytest.mark.parametrize("clean", [True, False], ids=["cleaned", "not cleaned"])
def test_no_unit_of_a_recipe_stays_where_another_package_would_take_it(kitchen: Kitchen, clean: bool) -> None:
    """Cargo takes an older source of the same name for compiled: what a build directory must never offer."""
    warm = kitchen.cook(with_lto(members=PLUGIN), clean=clean)
    (recipe,) = warm.recipes
    impostor = kitchen.folder("impostor")
    recipe.write(impostor)
    kitchen.fetch(impostor)
    make_old(impostor)

    answer = kitchen.cargo((*recipe.cargo_args, *EVENT_ARGS), impostor, warm.build_dir)

    assert answer.ok, answer.stderr
    assert parse_events(answer.stdout, answer.stderr).compiled.total() == 0
    assert own_freshness(answer.stdout) == {name: not clean for name in recipe.own_packages}


def assert_foretold(kitchen: Kitchen, build: Build, resolved: Resolved, warm: Warm) -> list[Unit]:
    """Build for real; assert that fresh and compiled units are those foretold; return the fresh ones."""
    fresh = [unit for unit in resolved.registry if unit.key in warm.made]
    stale = [unit for unit in resolved.registry if unit.key not in warm.made]
    events = kitchen.build(build, resolved, warm)
    assert labels(events.fresh - identities(fresh)) == [], "fresh, though foretold to be compiled"
    assert labels(events.compiled - identities(stale)) == [], "compiled, though foretold to be fresh"
    assert events.fresh == identities(fresh)
    assert events.compiled == identities(stale)
    return fresh


def expected_number(fresh: Fresh | int, resolved: Resolved) -> int:
    """Return how many units have to be fresh."""
    match fresh:
        case Fresh.ALL:
            return len(resolved.registry)
        case Fresh.NONE:
            return 0
        case Fresh.HOST_SIDE:
            return sum(unit.sides == {Side.HOST} for unit in resolved.registry)
        case int():
            return fresh


def labels(counted: Mapping[object, int]) -> list[str]:
    return sorted(str(getattr(each, "label", each)) for each in counted)


def make_old(folder: Path) -> None:
    """Date every file to a time before anything was compiled."""
    for path in folder.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))


def own_freshness(stdout: str) -> dict[str, bool]:
    """Return whether the library of each path package was fresh, by the package's name."""
    messages = [json.loads(line) for line in stdout.splitlines() if line.startswith("{")]
    return {
        message["target"]["name"].replace("_", "-"): message["fresh"]
        for message in messages
        if message["reason"] == "compiler-artifact"
        and message["package_id"].startswith("path+")
        and message["target"]["kind"] != ["custom-build"]
    }
