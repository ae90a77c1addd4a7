"""A unit key is right when it foretells cargo: what has the key of a cooked unit is fresh, and nothing else is."""

from __future__ import annotations

import enum
import json
import os
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.cargo.toolchain import find_toolchain
from factory.model import Side
from factory.planning.resolution import resolve_recipes
from tests.cargo.scenario import HOST, Build, Kitchen, Resolved, Warm, Workspace, identities

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from factory.cargo.events import Identity
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


MACRO_CRATES = {"cfg-if", "proc-macro2", "quote", "unicode-ident"}
LTO_CRATES = {"itoa", "log", "unicode-ident", "wasm-bindgen-shared"}


def with_lto(*, members: Mapping[str, str] | None = None, lib: str | None = None, is_bin: bool = True) -> Build:
    """Return a build with fat LTO, in which libraries are linked by crate types that take part in it or do not."""
    return Build(
        workspace=Workspace(
            dependencies=("itoa = '1'", "log = '0.4'", "wasm-bindgen-shared = '0.2'"),
            tables=release("lto = true\nopt-level = 0"),
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
MACRO_MEMBER = Workspace(
    dependencies=("itoa = '1'", "macros = { path = 'macros' }"),
    members={"macros": "[lib]\nproc-macro = true\n[dependencies]\nquote = '1'\ncfg-if = '1'\n"},
)
DEV_FEATURES = Workspace(
    dependencies=("log = '0.4'", "cfg-if = '1'"),
    dev_dependencies=("log = { version = '0.4', features = ['std'] }", "itoa = '1'"),
    lib="",
)
LOG_PLAIN = Workspace(dependencies=("log = '0.4'", "cfg-if = '1'"))
LOG_STD = Workspace(dependencies=("log = { version = '0.4', features = ['std'] }", "cfg-if = '1'"))
FLAGS = ("-C", "force-frame-pointers=yes")
FLAGGED = Build(workspace=replace(LIGHT, config=f"[build]\nrustflags = {json.dumps(FLAGS)}\n"), rustflags={None: FLAGS})
CROSS = Build(workspace=LIGHT, args=("--target", HOST))
CUSTOM_PROFILE = replace(LIGHT, tables="[profile.dist]\ninherits = 'release'\ncodegen-units = 1\n")
OVERRIDES = replace(
    LIGHT,
    tables="[profile.release.package.itoa]\nopt-level = 1\n[profile.release.package.proc-macro2]\nopt-level = 2\n"
    "[profile.release.build-override]\ncodegen-units = 4\n",
)
SHARED_SIDES = replace(BOTH_SIDES, tables="[profile.release.build-override]\nopt-level = 3\n")
HOST_DEBUG = replace(BOTH_SIDES, tables="[profile.dev.build-override]\ndebug = true\n")
HOST_NO_DEBUG = replace(BOTH_SIDES, tables="[profile.dev.build-override]\ndebug = false\n")
MANY_SETTINGS = replace(
    LIGHT,
    tables=release("lto = 'thin'\ncodegen-units = 1\npanic = 'abort'\nstrip = 'symbols'\noverflow-checks = true"),
)
DEV_SETTINGS = replace(
    LIGHT,
    tables="[profile.dev]\ndebug = 'line-tables-only'\nopt-level = 1\n[profile.dev.build-override]\nopt-level = 3\n"
    "[profile.dev.package.'*']\nopt-level = 2\n",
)
PLUGIN = {"plugin": "[lib]\ncrate-type = ['cdylib', 'rlib']\n[dependencies]\nitoa = '1'\nlibc = '0.2'\n"}

BUILDS: Mapping[str, tuple[Build, ...]] = {
    "release": (Build(workspace=RICH),),
    "debug": (Build(workspace=LIGHT, variant="dev"), Build(workspace=LIGHT, variant="check:dev")),
    "shapes in release": (
        Build(workspace=TWO_VERSIONS),
        Build(workspace=BOTH_SIDES),
        Build(workspace=SHARED_SIDES),
        Build(workspace=MACRO_ON_TARGET),
        Build(workspace=SAME_MACRO_ON_TARGET),
        Build(workspace=MACRO_MEMBER),
    ),
    "shapes in dev": (
        Build(workspace=TWO_VERSIONS, variant="dev"),
        Build(workspace=BOTH_SIDES, variant="dev"),
        Build(workspace=HOST_DEBUG, variant="dev"),
        Build(workspace=HOST_NO_DEBUG, variant="dev"),
        Build(workspace=MACRO_ON_TARGET, variant="dev"),
        Build(workspace=SAME_MACRO_ON_TARGET, variant="dev"),
        Build(workspace=MACRO_MEMBER, variant="dev"),
        Build(workspace=DEV_FEATURES, variant="dev"),
        Build(workspace=DEV_FEATURES, variant="test:dev"),
    ),
    "shapes in check": (
        Build(workspace=TWO_VERSIONS, variant="check:dev"),
        Build(workspace=BOTH_SIDES, variant="check:dev"),
        Build(workspace=MACRO_ON_TARGET, variant="check:dev"),
        Build(workspace=SAME_MACRO_ON_TARGET, variant="check:dev"),
        Build(workspace=MACRO_MEMBER, variant="check:dev"),
        Build(workspace=DEV_FEATURES, variant="check-all:dev"),
    ),
    "contexts": (
        FLAGGED,
        CROSS,
        Build(workspace=CUSTOM_PROFILE, variant="dist"),
        Build(workspace=OVERRIDES),
        Build(workspace=MANY_SETTINGS),
        Build(workspace=DEV_SETTINGS, variant="dev"),
    ),
    "lto": (
        with_lto(),
        with_lto(members=PLUGIN),
        with_lto(lib="crate-type = ['cdylib']", is_bin=False),
        with_lto(lib="crate-type = ['staticlib', 'cdylib']"),
        with_lto(lib="crate-type = ['rlib', 'cdylib']"),
        replace(with_lto(lib="crate-type = ['lib']"), variant="test:release"),
    ),
    "lto beside a cdylib": (with_lto(members=PLUGIN),),
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


HOST_SIDE_AND_RUN = 10
"""The 9 units of the light workspace's host side, and the run of the target side's build script: of the profile, cargo
gives that only what build scripts are told, such as `opt-level`."""

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
        Workspace(
            dependencies=(
                "numbers = { package = 'itoa', version = '1' }",
                "errors = { package = 'anyhow', version = '1' }",
            )
        ),
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
    rich("a feature of a leaf", 29, with_feature("log", "log = { version = '0.4', features = ['std'] }")),
    rich("a feature of serde", 24, with_feature("serde", "serde = { version = '1', features = ['derive', 'rc'] }")),
    rich("a patch of a leaf", 29, replace(RICH, versions={"itoa": "1.0.18"})),
    rich("a patch of a leaf with a build script", 27, replace(RICH, versions={"libc": "0.2.183"})),
    rich("a patch of unicode-ident", 21, replace(RICH, versions={"unicode-ident": "1.0.24"})),
    rich("a patch of proc-macro2", 10, replace(LIGHT, versions={"proc-macro2": "1.0.106"})),
    rich(
        "one more crate",
        15,
        replace(LIGHT, dependencies=(*LIGHT.dependencies, "bitflags_old = { package = 'bitflags', version = '1' }")),
    ),
)
PROFILES = (
    light("opt-level = 2", Fresh.HOST_SIDE, tables=release("opt-level = 2")),
    light("opt-level = 's'", Fresh.HOST_SIDE, tables=release("opt-level = 's'")),
    light("codegen-units", HOST_SIDE_AND_RUN, tables=release("codegen-units = 1")),
    light("panic", HOST_SIDE_AND_RUN, tables=release("panic = 'abort'")),
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
    light("override of a package", 14, tables="[profile.release.package.itoa]\nopt-level = 1\n"),
    light("override of every package", Fresh.NONE, tables="[profile.release.package.'*']\ndebug-assertions = true\n"),
    light("custom profile", Fresh.NONE, tables="[profile.dist]\ninherits = 'release'\n", variant="dist"),
)
COMMANDS = (
    light("dev", Fresh.NONE, variant="dev"),
    light("check", Fresh.NONE, variant="check:dev"),
    light("check --release", HOST_SIDE_AND_RUN, variant="check:release"),
    light("test --release --no-run", Fresh.ALL, variant="test:release"),
    light("test --no-run", Fresh.NONE, variant="test:dev"),
    # Tests unwind, whatever the profile says.
    light("test with panic = abort", Fresh.ALL, variant="test:release", tables=release("panic = 'abort'")),
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
        fresh=1,
        build=Build(workspace=BOTH_SIDES, variant="check:dev"),
        warm="debug",
    ),
    Row(
        name="resolver 1 where features differ between the sides",
        fresh=6,
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
        fresh=5,
        build=with_lto(),
        warm="lto beside a cdylib",
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
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    root = tmp_path_factory.mktemp("kitchen")
    yield Kitchen(root, find_toolchain())
    # pytest keeps the folders of its last runs: these would be gigabytes.
    shutil.rmtree(root)


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


def test_what_no_recipe_reproduces_is_found_out_before_cooking(kitchen: Kitchen) -> None:
    build, crates = with_lto(lib="crate-type = ['dylib']", is_bin=False), LTO_CRATES
    warm = kitchen.cook(build)
    resolved = kitchen.resolve(build)

    result = resolve_recipes(
        warm.recipes,
        split=lambda recipe: (recipe,),
        toolchain=kitchen.toolchain,
        cargo_home=kitchen.cargo_home,
        jobs=1,
        advance=lambda _: None,
    )

    missing = frozenset(key for loss in result.unreproduced for key in loss.keys)
    assert missing == warm.wanted - warm.made
    assert {unit.package.name for unit in resolved.units if unit.key in missing} == crates
    assert_foretold(kitchen, build, resolved, warm)


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
    assert own_freshness(answer.stdout) == dict.fromkeys(recipe.own_packages, not clean)


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


def labels(counted: Mapping[Identity, int]) -> list[str]:
    return sorted(each.label for each in counted)


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
