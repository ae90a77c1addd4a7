"""Temporary directories of ours: cargo must find nothing above them that it would obey."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from factory.errors import EnvironmentFaultError
from factory.scratch import scratch

if TYPE_CHECKING:
    from pathlib import Path


def test_a_temporary_directory_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch("factory-") as folder:
        assert folder.parent == tmp_path
    assert not folder.exists()


@pytest.mark.parametrize("name", [".cargo/config", ".cargo/config.toml", "Cargo.toml"])
def test_files_that_cargo_would_obey_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stray, temporary = tmp_path / name, tmp_path / "tmp"
    stray.parent.mkdir(exist_ok=True)
    stray.touch()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(EnvironmentFaultError, match=r"cargo would obey this file") as refused, scratch("factory-"):
        pass
    assert refused.value.what.startswith(f"{stray}: ")
    assert f"not below a `{name.partition('/')[0]}`, and that the engine sees too" in refused.value.advice
    assert list(temporary.iterdir()) == []
