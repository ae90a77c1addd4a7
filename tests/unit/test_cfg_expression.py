"""cfg expressions: cargo's grammar, evaluation, and what str() writes is read back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.scan.cfg_expression import (
    MAX_DEPTH,
    CfgAll,
    CfgAny,
    CfgConstant,
    CfgExpression,
    CfgName,
    CfgNot,
    CfgPair,
    CfgSet,
    CfgSyntaxError,
    parse,
    parse_target_key,
)

LINUX = CfgSet.parse(
    'debug_assertions\npanic="unwind"\ntarget_arch="x86_64"\ntarget_feature="sse"\n'
    'target_feature="sse2"\ntarget_os="linux"\nunix\n'
)

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
LEAVES: st.SearchStrategy[CfgExpression] = st.one_of(
    NAMES.filter(lambda name: name not in {"true", "false"}).map(CfgName),
    st.builds(CfgPair, NAMES, st.text(st.characters(exclude_characters='"', codec="utf-8"), max_size=8)),
    st.booleans().map(CfgConstant),
)


def _grow(inner: st.SearchStrategy[CfgExpression]) -> st.SearchStrategy[CfgExpression]:
    many = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(inner.map(CfgNot), many.map(CfgAll), many.map(CfgAny))


EXPRESSIONS = st.recursive(LEAVES, _grow, max_leaves=12)


@given(EXPRESSIONS)
def test_what_is_written_is_read_back(expression: CfgExpression) -> None:
    assert parse(str(expression)) == expression


@given(EXPRESSIONS)
def test_not_is_the_opposite(expression: CfgExpression) -> None:
    assert CfgNot(expression).matches(LINUX) is not expression.matches(LINUX)


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_an_explained_error(text: str) -> None:
    found: CfgExpression | CfgSyntaxError
    try:
        found = parse(text)
    except CfgSyntaxError as error:
        found = error
    if isinstance(found, CfgSyntaxError):
        assert 0 <= found.position <= len(text)
        assert text in found.what
    else:
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix", True),
        ("windows", False),
        ("r#unix", True),
        ('target_os = "linux"', True),
        ('target_os="linux"', True),
        ('target_os = "Linux"', False),
        ('target_feature = "sse"', True),
        ('target_feature = "sse2"', True),
        ("target_os", False),
        ("all()", True),
        ("any()", False),
        ("true", True),
        ("false", False),
        ('all(unix, target_arch = "x86_64",)', True),
        ("any(windows, not(unix))", False),
        ('not(any(windows, target_os = "macos"))', True),
    ],
)
def test_evaluation(text: str, *, expected: bool) -> None:
    assert parse(text).matches(LINUX) is expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("all", 3),
        ("all(unix", 8),
        ("unix)", 4),
        ("unix windows", 5),
        ('target_os = "linux', 12),
        ("target_os = linux", 12),
        ("not()", 4),
        ("not(a, b)", 5),
        ("a-b", 1),
        ("unix\t", 4),
        ('"unix"', 0),
        ("all(,)", 4),
    ],
)
def test_errors_know_their_position(text: str, position: int) -> None:
    with pytest.raises(CfgSyntaxError) as caught:
        parse(text)
    assert caught.value.position == position


def test_nesting_has_an_end() -> None:
    deep = "not(" * MAX_DEPTH + "unix" + ")" * MAX_DEPTH
    assert parse(deep).matches(LINUX) is True
    with pytest.raises(CfgSyntaxError, match="nested deeper"):
        parse(f"not({deep})")


def test_target_keys() -> None:
    assert parse_target_key("x86_64-unknown-linux-gnu") is None
    assert parse_target_key("cfg(unix)") == CfgName("unix")
    with pytest.raises(CfgSyntaxError):
        parse_target_key("cfg(unix")


def test_a_cfg_set_is_what_rustc_prints() -> None:
    assert LINUX.names == {"debug_assertions", "unix"}
    assert ("target_feature", "sse2") in LINUX.pairs
    with pytest.raises(CfgSyntaxError):
        CfgSet.parse("error: no such target")
