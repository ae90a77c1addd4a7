"""Target triples: nothing else of a repository's choice stands behind `--target`."""

from __future__ import annotations

import pytest

from factory.cargo.toolchain import Toolchain
from factory.triple import is_triple

OTHERS = ["@/etc/passwd", "@x", "x.json", "a/b", "-o", "--print=cfg=x", "", " ", "a b", "a\n", "a\0", "\u0430vr"]


@pytest.mark.parametrize("text", ["x86_64-unknown-linux-gnu", "thumbv8m.main-none-eabi", "host-tuple", "wasm32-wasip1"])
def test_a_triple_is_one(text: str) -> None:
    assert is_triple(text)


@pytest.mark.parametrize("text", OTHERS)
def test_a_file_or_an_option_is_none_and_reaches_no_rustc(text: str) -> None:
    assert not is_triple(text)
    # The fast ring's guard fails the test if a program is started.
    with pytest.raises(ValueError, match="not a target triple"):
        Toolchain(version="", host="", rustc_verbose="").print_cfg(text)
