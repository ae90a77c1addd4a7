"""The stacks that are shipped: what the benchmark writes is what the program reads."""

from __future__ import annotations

import tomllib

from benchmarks.stacks import stacks_to_toml
from factory.analysis.stacks import shipped_stacks
from factory.resources import shipped


def test_the_shipped_stacks_are_written_as_they_are_read() -> None:
    text = (shipped("stacks") / "stacks.toml").read_text(encoding="utf-8")
    assert stacks_to_toml(shipped_stacks(), repositories=tomllib.loads(text)["repositories"]) == text
