"""Files written whole or not at all; the same bytes for the same content; a cache that is only ours."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory import files
from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


def shuffled(value: object, order: random.Random) -> object:
    """Return an equal value whose objects were filled in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(item, order) for item in value]
    return value


@given(value=JSON, seed=st.integers())
def test_equal_values_have_equal_bytes_and_digests(value: object, seed: int) -> None:
    other = shuffled(value, random.Random(seed))  # noqa: S311 - shuffles test data
    assert files.canonical_json(value).encode() == files.canonical_json(other).encode()
    assert files.digest(value) == files.digest(other)


@given(value=JSON)
def test_canonical_json_is_json(value: object) -> None:
    text = files.canonical_json(value)
    assert json.loads(text) == value
    assert text.endswith("\n")


def test_canonical_json_gives_a_line_to_each_entry() -> None:
    value: Mapping[str, Any] = {"b": [2, 1], "a": {"ü": None}}
    assert files.canonical_json(value) == '{\n "a": {\n  "ü": null\n },\n "b": [\n  2,\n  1\n ]\n}\n'


@pytest.mark.parametrize("other", [["a", "b"], ["ab"], {"a": "b"}, "ab", [["a"], "b"]])
def test_different_values_have_different_digests(other: object) -> None:
    assert files.digest(other) != files.digest(["b", "a"])
    assert len(files.digest(other)) == 64


def test_digest_takes_names_that_are_no_utf8() -> None:
    assert files.digest(os.fsdecode(b"caf\xe9")) != files.digest(os.fsdecode(b"caf\xe8"))


def test_writes_into_missing_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "file.txt"
    files.write_text(path, "old")
    files.write_text(path, "new\r\nlines\n")
    assert path.read_bytes() == b"new\r\nlines\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "new \ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    texts = ["a" * 200_000, "b" * 300_000]
    files.write_text(path, texts[0])

    def write() -> None:
        for number in range(60):
            files.write_text(path, texts[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_text(encoding="utf-8"))
    writer.join()
    assert seen <= set(texts)


def test_a_pipe_gets_the_text_and_stays_a_pipe(tmp_path: Path) -> None:
    """As root, to replace /dev/null by a plan would take it from the whole machine."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.append(path.read_text(encoding="utf-8")), daemon=True)
    reader.start()
    files.write_text(path, "a plan")
    reader.join(10)
    assert path.is_fifo()
    assert seen == ["a plan"]


def test_a_socket_is_no_place_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(ConfigurationError, match="socket: cannot be written: a disk or a socket"):
            files.write_text(Path("socket"), "a plan")
        assert Path("socket").is_socket()


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        files.write_text(tmp_path / "file" / "below", "")
    assert caught.value.what.startswith(f"{tmp_path}/file/below: cannot be written: ")
    assert caught.value.advice


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    files.write_json(path, {"a": [1, {"b": None}]})
    assert files.read_json(path, made_by="factory plan") == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("content", "what", "advice"),
    [
        pytest.param(None, "no such file", "Run `factory plan` first.", id="missing"),
        pytest.param(b'{"a": ', "not valid JSON", "Run `factory plan` again.", id="cut off"),
        pytest.param(b'"\xff"', "not valid JSON", "Run `factory plan` again.", id="not utf-8"),
    ],
)
def test_a_bad_file_names_the_command_that_makes_it(
    tmp_path: Path, content: bytes | None, what: str, advice: str
) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        files.read_json(path, made_by="factory plan")
    assert caught.value.what.startswith(f"{path}: {what}")
    assert caught.value.advice == advice


def test_a_folder_in_the_place_of_a_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Is a directory"):
        files.read_json(tmp_path, made_by="factory plan")


def test_the_cache_is_where_the_variable_says_and_tagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path / "new" / "cache"))
    assert files.cache_directory() == tmp_path / "new" / "cache"
    tag = (tmp_path / "new" / "cache" / "CACHEDIR.TAG").read_text(encoding="utf-8")
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert files.cache_directory() == tmp_path / "new" / "cache"


def test_the_cache_is_in_the_users_cache_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACTORY_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_directory() == tmp_path / "rust-warm-factory"


def test_cleaning_removes_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path / "cache"))
    (files.cache_directory() / "kept").mkdir()
    assert files.clean_cache() == tmp_path / "cache"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_never_taken_for_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work", encoding="utf-8")
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path))
    for use in (files.cache_directory, files.clean_cache):
        with pytest.raises(ConfigurationError, match=r"holds other files, thesis\.tex"):
            use()
    assert list(tmp_path.iterdir()) == [precious]


def test_a_cache_that_another_program_tagged_is_not_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path))
    tag = tmp_path / "CACHEDIR.TAG"
    tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="not ours"):
        files.clean_cache()
    assert tag.exists()
