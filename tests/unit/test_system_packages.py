"""Debian packages: the table itself, what units need, which layer installs it, and what a failed build asks for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import tomli
from semver import Version

from factory.config.layers import LayerProfile, LayerTree, load_layer_profiles
from factory.errors import ConfigurationError
from factory.model import PackageId, Side, UnitKey
from factory.planning.system_packages import (
    Need,
    Purpose,
    analysis_uses,
    layer_packages,
    missing_packages,
    needs,
    package_uses,
    read_table,
    uses_to_json,
)
from factory.resources import shipped
from tests.hostile import write_files
from tests.unit.builders import organisation, unit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from factory.model import Unit

HOST = "x86_64-unknown-linux-gnu"
TABLE = read_table()


def crate(name: str, *below: str, version: str = "1.0.0", features: tuple[str, ...] = (), key: str = "") -> Unit:
    made = unit(key or name, *below, name=name, features=features)
    return replace(made, package=replace(made.package, version=version))


def needed(*units: Unit, suite: str = "bookworm", users: dict[str, set[str]] | None = None) -> tuple[Need, ...]:
    by_key = {one.key: one for one in units}
    repos = {key: frozenset((users or {}).get(key, {"repo"})) for key in by_key}
    return needs(by_key, repos, host=HOST, suite=suite, table=TABLE)


def to_compile(*units: Unit) -> set[str]:
    return {need.package for need in needed(*units) if need.purpose is not Purpose.RUNTIME}


# The table


def test_every_entry_of_the_table_is_sound() -> None:
    for rules in TABLE.rules.values():
        for rule in rules:
            assert rule.why, rule.name
            assert rule.tools or rule.libraries or rule.runtime, rule.name
            assert not rule.features & rule.unless, rule.name
            assert not rule.excepted or rule.users, rule.name
            for bound in filter(None, (rule.since, rule.before)):
                Version.parse(bound)
            for package, _ in rule.packages(at_home=True):
                assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package), package


def test_entries_are_not_repeated_and_renamings_are_of_packages_that_occur() -> None:
    document = tomli.loads(shipped("system-packages.toml").read_text(encoding="utf-8"))
    entries = [{key: value for key, value in entry.items() if key != "why"} for entry in document["crate"]]
    assert [entry for number, entry in enumerate(entries) if entry in entries[:number]] == []
    known = set(TABLE.all_packages("bookworm"))
    assert {old for names in TABLE.renamed.values() for old in names} <= known


# What units need


@pytest.mark.parametrize(
    ("one", "packages"),
    [
        (crate("openssl-sys"), {"libssl-dev", "pkg-config"}),
        (crate("openssl-sys", features=("vendored",)), set()),
        (crate("openssl_sys"), {"libssl-dev", "pkg-config"}),
        (crate("pq-sys"), {"libpq-dev"}),
        (crate("pq-sys", features=("bundled",)), set()),
        (crate("libsqlite3-sys"), {"libsqlite3-dev", "pkg-config"}),
        (crate("libsqlite3-sys", features=("bundled",)), set()),
        (crate("libsqlite3-sys", features=("sqlcipher",)), {"libsqlcipher-dev", "pkg-config"}),
        (crate("zstd-sys"), set()),
        (crate("zstd-sys", features=("pkg-config",)), {"libzstd-dev", "pkg-config"}),
        (crate("prost-build", version="0.10.4"), set()),
        (crate("prost-build", version="0.11.0"), {"protobuf-compiler"}),
        (crate("rdkafka-sys", version="4.10.0+2.12.1"), {"g++", "make"}),
        (crate("serde"), set()),
    ],
    ids=lambda value: value.package.label + "+".join(value.features) if hasattr(value, "package") else "",
)
def test_a_crate_needs_packages_by_its_features_and_version(one: Unit, packages: set[str]) -> None:
    assert to_compile(one) == packages


def test_a_library_is_of_use_to_the_images_platform_only_and_a_tool_to_all() -> None:
    openssl = replace(crate("openssl-sys"), platform="aarch64-unknown-linux-musl")
    assert to_compile(openssl) == {"pkg-config"}
    assert to_compile(replace(openssl, platform=HOST)) == {"libssl-dev", "pkg-config"}
    assert to_compile(replace(openssl, platform=None, sides=frozenset({Side.HOST}))) == {"libssl-dev", "pkg-config"}


def test_names_are_those_of_the_suite() -> None:
    def runtime(suite: str) -> list[str]:
        return [need.package for need in needed(crate("openssl-sys"), suite=suite) if need.purpose is Purpose.RUNTIME]

    assert [runtime(suite) for suite in ("bookworm", "trixie", "sid", "unstable")] == [
        ["libssl3"],
        *[["libssl3t64"]] * 3,
    ]


def test_a_build_tool_is_needed_by_the_crates_whose_build_scripts_use_it() -> None:
    tool, fallback, user = crate("cmake"), crate("aws-lc-sys", "cmake"), crate("snappy-src", "cmake")
    assert to_compile(tool, fallback) == set()
    (need,) = needed(tool, fallback, user)
    assert (need.package, need.crate, need.key) == ("cmake", "snappy-src", user.key)


def test_a_build_tool_that_no_crate_of_a_repository_uses_is_used_by_its_own_build_scripts() -> None:
    tool, fallback = crate("cmake"), crate("aws-lc-sys", "cmake")
    (need,) = needed(tool, fallback, users={"cmake": {"api", "own"}, "aws-lc-sys": {"api"}})
    assert (need.package, need.crate, need.repos) == ("cmake", "cmake", frozenset({"own"}))


def test_uses_gather_crates_and_repositories_by_package() -> None:
    units = [crate("gio-sys"), crate("glib-sys", key="one"), crate("glib-sys", key="two")]
    found = needed(*units, users={"gio-sys": {"app"}, "one": {"app"}, "two": {"tool"}})
    assert [(use.package, use.purpose.value, use.crates, use.repos) for use in package_uses(found)] == [
        ("pkg-config", "tool", ("gio-sys", "glib-sys"), ("app", "tool")),
        ("libglib2.0-dev", "library", ("gio-sys", "glib-sys"), ("app", "tool")),
        ("libglib2.0-0", "runtime", ("gio-sys", "glib-sys"), ("app", "tool")),
    ]


def test_an_analysis_says_who_needs_what() -> None:
    analysis = organisation()
    key = UnitKey("pq")
    first = analysis.workspaces[0]
    uses = {name: replace(use, keys=(*use.keys, key)) for name, use in first.variants.items()}
    with_database = replace(
        analysis,
        units=dict(analysis.units) | {key: crate("pq-sys", key="pq")},
        workspaces=(replace(first, variants=uses), *analysis.workspaces[1:]),
    )
    found = uses_to_json(analysis_uses(with_database, suite="bookworm", table=TABLE))
    assert {"package": "libpq-dev", "purpose": "library", "crates": ["pq-sys"], "repos": [first.repo]} in found
    assert {"package": "libpq5", "purpose": "runtime", "crates": ["pq-sys"], "repos": [first.repo]} in found


# Which layer installs what


def tree(*profiles: LayerProfile) -> LayerTree:
    return LayerTree(layers=profiles)


def layered(found: Iterable[Need], layers: LayerTree, **layer_of: str) -> dict[str, tuple[str, ...]]:
    return layer_packages(found, {UnitKey(key): layer for key, layer in layer_of.items()}, layers)


def test_a_layer_installs_what_its_units_need_and_none_below_it_has() -> None:
    found = needed(crate("openssl-sys", key="ssl"), crate("glib-sys", key="glib"), crate("gio-sys", key="gio"))
    layers = tree(
        LayerProfile(name="core"), LayerProfile(name="web", parent="core"), LayerProfile(name="db", parent="web")
    )
    assert layered(found, layers, ssl="core", glib="web", gio="db") == {
        "core": ("libssl-dev", "pkg-config"),
        "web": ("libglib2.0-dev",),
        "db": (),
    }


def test_a_profile_adds_and_takes_away_here_and_above() -> None:
    found = needed(
        crate("openssl-sys", key="ssl"), crate("bindgen", key="bindgen"), crate("zx-sys", "bindgen", key="zx")
    )
    layers = tree(
        LayerProfile(name="core", packages=frozenset({"mold"}), never_packages=frozenset({"libclang-dev"})),
        LayerProfile(name="web", parent="core", packages=frozenset({"mold", "nodejs"})),
    )
    assert layered(found, layers, ssl="web", bindgen="core", zx="web") == {
        "core": ("mold",),
        "web": ("libssl-dev", "nodejs", "pkg-config"),
    }


def test_profiles_name_packages(tmp_path: Path) -> None:
    write_files(tmp_path, {"core.toml": 'packages = ["mold", "g++"]\nnever_packages = ["clang"]\n'})
    (profile,) = load_layer_profiles(tmp_path).layers
    assert (profile.packages, profile.never_packages) == (frozenset({"mold", "g++"}), frozenset({"clang"}))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('packages = ["libpq-dev=15"]', 'packages.0: "libpq-dev=15" does not fit; write the name of a Debian package'),
        ('packages = ["mold", "mold"]', "packages: mold is listed twice; name each once"),
        ('packages = ["mold"]\nnever_packages = ["mold"]', "never_packages: mold is in packages too; keep it in one"),
    ],
)
def test_packages_that_cannot_be_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    write_files(tmp_path, {"core.toml": text})
    with pytest.raises(ConfigurationError) as caught:
        load_layer_profiles(tmp_path)
    assert complaint in caught.value.what


# What a failed build asks for: each text is what a real build script says


@pytest.mark.parametrize(
    ("name", "said", "packages"),
    [
        ("x", "The pkg-config command could not be found.", ["pkg-config"]),
        ("x", "Could not run `PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 pkg-config --libs --cflags alsa`", ["pkg-config"]),
        ("x", "Package libudev was not found in the pkg-config search path.", ["libudev-dev"]),
        ("x", "Package 'dbus-1', required by 'virtual:world', not found", ["libdbus-1-dev"]),
        ("x", "The system library `alsa` required by crate `x` was not found.", ["libasound2-dev"]),
        ("x", "The file `glib-2.0.pc` needs to be installed", ["libglib2.0-dev"]),
        ("x", "/usr/bin/ld: cannot find -lpq: No such file or directory", ["libpq-dev"]),
        ("x", "rust-lld: error: unable to find library -lxkbcommon", ["libxkbcommon-dev"]),
        ("x", "Unable to find libclang: \"couldn't find any valid shared libraries", ["libclang-dev"]),
        ("x", "is `cmake` not installed?", ["cmake"]),
        ("x", 'failed to find tool "c++": No such file or directory (os error 2)', ["g++"]),
        ("x", "Could not find `protoc`. If `protoc` is installed, try setting", ["protobuf-compiler"]),
        ("x", "sh: 1: nasm: not found", ["nasm"]),
        (
            "openssl-sys",
            "Could not find directory of OpenSSL installation, and",
            ["libssl-dev", "pkg-config"],
        ),
        ("mysqlclient-sys", "mysql_config: NotFound", ["default-libmysqlclient-dev", "pkg-config"]),
        ("x", "error[E0308]: mismatched types", []),
        ("openssl-sys", "error[E0308]: mismatched types", []),
    ],
)
def test_a_failed_build_names_the_packages_it_misses(name: str, said: str, packages: list[str]) -> None:
    assert list(missing_packages(name, said, suite="bookworm", table=TABLE)) == packages


def test_package_ids_of_two_versions_are_two_crates_to_the_table() -> None:
    old = PackageId("webkit2gtk-sys", "0.18.0", "registry+https://github.com/rust-lang/crates.io-index")
    assert to_compile(replace(crate("webkit2gtk-sys"), package=old)) == set()
    assert "libwebkit2gtk-4.1-dev" in to_compile(crate("webkit2gtk-sys", version="2.0.1"))
