from __future__ import annotations

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from factory.cargo.lock import LockedPackage, fault_in_lock, parse_lock, render_lock
from factory.model import CRATES_IO, PackageId

OTHER = "registry+https://crates.example.com/index"
GIT = "git+https://git.example.com/tool?branch=main#0123456789abcdef0123456789abcdef01234567"


@st.composite
def locks(draw: st.DrawFn) -> list[LockedPackage]:
    identity = st.builds(
        PackageId,
        st.sampled_from(["serde", "serde_core", "a", "a-b"]),
        st.sampled_from(["1.0.0", "0.1.2", "2.0.0-rc.1", "10.1.0+zlib.1.3"]),
        st.sampled_from([CRATES_IO, OTHER, GIT]),
    )
    packages = sorted(draw(st.sets(identity, max_size=8)))
    edges = st.sets(st.sampled_from(packages), max_size=4) if packages else st.just(set[PackageId]())
    return [
        LockedPackage(
            package=package,
            checksum=draw(st.none() | st.just("0f" * 32)),
            dependencies=tuple(sorted(draw(edges))),
        )
        for package in packages
    ]


@given(locks())
def test_what_is_written_is_read_back(packages: list[LockedPackage]) -> None:
    assert parse_lock(render_lock(packages)).packages == tuple(packages)


@given(locks())
def test_the_order_does_not_matter(packages: list[LockedPackage]) -> None:
    assert render_lock(packages) == render_lock(reversed(packages))


def test_edges_to_packages_that_are_not_there_are_left_out() -> None:
    alone = LockedPackage(
        package=PackageId("a", "1.0.0", CRATES_IO),
        checksum=None,
        dependencies=(PackageId("gone", "1.0.0", CRATES_IO),),
    )

    assert "dependencies" not in render_lock([alone])


def test_names_are_no_longer_than_needed() -> None:
    packages = [PackageId("a", "1.0.0", CRATES_IO), PackageId("b", "1.0.0", CRATES_IO), PackageId("b", "2.0.0", OTHER)]
    entries = [LockedPackage(package=each, checksum=None, dependencies=tuple(packages)) for each in packages]

    (first, *_) = tomli.loads(render_lock(entries))["package"]

    assert first["dependencies"] == ["a", "b 1.0.0", "b 2.0.0"]


def test_reads_version_1_with_its_checksums_apart() -> None:
    text = f"""
[[package]]
name = "root"
version = "0.1.0"
dependencies = ["a 1.0.0 ({CRATES_IO})"]

[[package]]
name = "a"
version = "1.0.0"
source = "{CRATES_IO}"
dependencies = ["b 2.0.0 ({CRATES_IO})", "root 0.1.0"]

[[package]]
name = "b"
version = "2.0.0"
source = "{CRATES_IO}"

[metadata]
"checksum a 1.0.0 ({CRATES_IO})" = "abcd"
"""

    a, b = parse_lock(text).packages

    assert (a.package.name, a.checksum, a.dependencies) == ("a", "abcd", (b.package,))
    assert b.checksum is None


@pytest.mark.parametrize(
    "text",
    [
        "package = 3",
        "package = [1]",
        "[[package]]\nname = 'a'\n",
        "[[package]]\nname = 'a'\nversion = '1.0.0'\nsource = 'registry+x'\ndependencies = ['a b c d']\n",
        "<<<<<<< HEAD\n",
    ],
    ids=["no array", "no table", "no version", "no dependency", "a merge conflict"],
)
def test_what_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_lock(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version = 4\n", ""),
        ("version = 4\npackage = 3\n", ""),
        ("version = 4\n<<<<<<< HEAD\n", ":2: a merge conflict is left in it"),
        ('[[package]]\ndependencies = [\n "a",\n=======\n "b",\n]\n', ":4: a merge conflict is left in it"),
        ("version = 4\r\n=======\r\n", ":2: a merge conflict is left in it"),
        ("version = 4\nname = \n", ":2:8: invalid value"),
    ],
)
def test_the_line_of_what_is_no_lock_is_named(text: str, fault: str) -> None:
    assert fault_in_lock(text) == fault


def test_what_ends_too_early_has_its_last_line_named() -> None:
    fault = fault_in_lock('version = 4\ndependencies = [\n "a",\n\n')
    assert fault.startswith(":3: ")
    assert fault.endswith(" at the end of the file")
