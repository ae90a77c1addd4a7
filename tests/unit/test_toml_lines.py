"""The line of every key of a TOML text, however it is written, and within bounds for hostile texts."""

from __future__ import annotations

import time

import pytest

from factory.toml_lines import MAX_KEY_PARTS, lines_of_keys

TEXT = """\
x = 1 # x
[target."cfg(not(target_os = \\"macos\\"))"] # target.cfg(not(target_os = "macos"))
rustflags = ["-g", # target.cfg(not(target_os = "macos")).rustflags
 "]", { y = 1 }]
linker = "ld" # target.cfg(not(target_os = "macos")).linker
[ target ] # target
one = { b = "}", # target.one target.one.b
  c = 07:32 } # target.one.c
'cfg(unix)' = { # target.cfg(unix)
  # d = 1
  "inn\\x65r" . y = { z = 1, # target.cfg(unix).inner.y target.cfg(unix).inner.y.z
    w = 2 }, # target.cfg(unix).inner.y.w
}
[a] # a
s = \"\"\" # a.s
[b]
c = 1 \\\"\"\"
\"\"\"
t = \'\'\' # a.t
e = 1\'\'\'\'
u = {} # a.u
[[bin]] # bin
name = 1 # bin.name
[[bin]]
name = 2
path = [[], [{ f = 1 }]] # bin.path
"""


def test_every_key_has_the_line_on_which_it_stands() -> None:
    expected = {
        key: number
        for number, line in enumerate(TEXT.splitlines(), start=1)
        if not line.lstrip().startswith("#")
        for key in line.partition(" # ")[2].replace(" = ", "=").split()
    }
    found = {".".join(key).replace(" = ", "="): line for key, line in lines_of_keys(TEXT).items()}
    assert found == expected


@pytest.mark.parametrize("text", ["[a\nb = 1\n[c]\nd = 1\n", 'a = "\nb = 1\n[c]\nd = 1\n', "]]}}\n[c]\nd = 1\n\n"])
def test_a_fault_does_not_hide_the_lines_below_it(text: str) -> None:
    lines = text.splitlines()
    assert lines_of_keys(text)["c", "d"] == lines.index("d = 1") + 1


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 2_000_000,
        "a = " + "{a=" * 700_000,
        'a = "' + '\\"' * 1_000_000,
        '"' * 2_000_000,
        'a = """' + '""x' * 700_000,
        "[" + "a." * 500_000 + "a]\n" + "b = 1\n" * 100_000,
    ],
    ids=["arrays", "tables", "quotes", "strings", "a long string", "a long key"],
)
def test_hostile_texts_take_no_longer_than_others(text: str) -> None:
    before = time.process_time()
    found = lines_of_keys(text)
    assert time.process_time() - before < 20
    assert len(found) <= MAX_KEY_PARTS
