"""Which cargo shares what directory, and what its unit graph calls a package."""

from __future__ import annotations

import pytest

from factory.cargo.layout import Layout, reads_includes
from factory.model import CRATES_IO, PackageId, SourceKind


@pytest.mark.parametrize(
    ("version", "layout"),
    [("1.85.1", "target-dir"), ("1.90.9", "target-dir"), ("1.91.0", "build-dir"), ("2.0.0", "build-dir")],
)
def test_cargo_has_a_build_directory_since_1_91(version: str, layout: str) -> None:
    assert Layout.of(version) == layout


@pytest.mark.parametrize(("version", "reads"), [("1.93.1", False), ("1.94.0", True), ("2.0.0", True)])
def test_cargo_reads_what_a_configuration_includes_since_1_94(version: str, *, reads: bool) -> None:
    assert reads_includes(version) is reads


def test_final_binaries_can_be_kept_apart_from_a_build_directory_only() -> None:
    assert Layout.BUILD_DIR.apart("/x") == ("--target-dir", "/x")
    assert Layout.TARGET_DIR.apart("/x") == ()


@pytest.mark.parametrize(
    ("older", "newer", "kind"),
    [
        (f"itoa 1.0.18 ({CRATES_IO})", f"{CRATES_IO}#itoa@1.0.18", SourceKind.REGISTRY),
        ("app 0.1.0 (path+file:///w/app)", "path+file:///w/app#0.1.0", SourceKind.PATH),
        ("lib 2.0.0-rc.1+meta (path+file:///w/app)", "path+file:///w/app#lib@2.0.0-rc.1+meta", SourceKind.PATH),
        ("größe 0.1.0 (path+file:///w/app)", "path+file:///w/app#größe@0.1.0", SourceKind.PATH),
        (
            "own 0.2.0 (git+https://example.org/own.git?tag=v2#0123456789abcdef)",
            "git+https://example.org/own.git?tag=v2#0.2.0",
            SourceKind.GIT,
        ),
    ],
)
def test_older_unit_graphs_name_the_same_packages(older: str, newer: str, kind: SourceKind) -> None:
    assert PackageId.parse(older) == PackageId.parse(newer)
    assert PackageId.parse(older).kind is kind


@pytest.mark.parametrize("text", ["itoa 1.0.18", "itoa (registry+x)", "itoa 1 2 (registry+x)", "a b ()"])
def test_what_is_no_package_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a package id"):
        PackageId.parse(text)
