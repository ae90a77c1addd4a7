"""cargo's `cfg(...)` expressions, as its configuration and manifests use them.

The grammar is that of cargo's own parser (the crate `cargo-platform`), which is narrower than rustc's: blanks
are the only white space, strings have no escapes, and `true` and `false` are constants.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 64
"""How deep expressions may nest: enough for any real one, and no hostile one ends the interpreter's stack."""


class CfgSyntaxError(ConfigurationError):
    """A text is no cfg expression; `position` counts characters from 0."""

    def __init__(self, text: str, position: int, what: str) -> None:
        super().__init__(f"`{text}` is not a cfg expression: {what} at character {position + 1}")
        self.position = position


@dataclass(frozen=True, slots=True)
class CfgSet:
    """What rustc says is set for a target: names (`unix`) and pairs (`target_os="linux"`)."""

    names: frozenset[str]
    pairs: frozenset[tuple[str, str]]

    @classmethod
    def parse(cls, printed: str) -> CfgSet:
        """Parse the output of `rustc --print cfg`, one entry a line; raise `CfgSyntaxError` for any other
        text.
        """
        names: set[str] = set()
        pairs: set[tuple[str, str]] = set()
        for line in filter(None, (line.strip() for line in printed.splitlines())):
            match _Parser(line).entry():
                case CfgName(name=name):
                    names.add(name)
                case CfgPair(key=key, value=value):
                    pairs.add((key, value))
        return cls(frozenset(names), frozenset(pairs))


@dataclass(frozen=True, slots=True)
class CfgName:
    """A name: `unix`."""

    name: str

    def matches(self, cfgs: CfgSet) -> bool:
        """Whether the name is set."""
        return self.name in cfgs.names

    def __str__(self) -> str:
        return _identifier(self.name)


@dataclass(frozen=True, slots=True)
class CfgPair:
    """A key with a value: `target_os = "linux"`."""

    key: str
    value: str

    def matches(self, cfgs: CfgSet) -> bool:
        """Whether the key is set to this value, among others perhaps."""
        return (self.key, self.value) in cfgs.pairs

    def __str__(self) -> str:
        return f'{_identifier(self.key)} = "{self.value}"'


@dataclass(frozen=True, slots=True)
class CfgConstant:
    """`true` or `false`."""

    value: bool

    def matches(self, cfgs: CfgSet) -> bool:  # noqa: ARG002 - the same question for every expression
        """Whether the constant is `true`."""
        return self.value

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class CfgNot:
    """`not(...)`."""

    operand: CfgExpression

    def matches(self, cfgs: CfgSet) -> bool:
        """Whether the operand does not match."""
        return not self.operand.matches(cfgs)

    def __str__(self) -> str:
        return f"not({self.operand})"


@dataclass(frozen=True, slots=True)
class CfgAll:
    """`all(...)`: also true when empty."""

    operands: tuple[CfgExpression, ...]

    def matches(self, cfgs: CfgSet) -> bool:
        """Whether every operand matches."""
        return all(operand.matches(cfgs) for operand in self.operands)

    def __str__(self) -> str:
        return f"all({', '.join(map(str, self.operands))})"


@dataclass(frozen=True, slots=True)
class CfgAny:
    """`any(...)`: false when empty."""

    operands: tuple[CfgExpression, ...]

    def matches(self, cfgs: CfgSet) -> bool:
        """Whether at least one operand matches."""
        return any(operand.matches(cfgs) for operand in self.operands)

    def __str__(self) -> str:
        return f"any({', '.join(map(str, self.operands))})"


CfgExpression = CfgName | CfgPair | CfgConstant | CfgNot | CfgAll | CfgAny
"""A parsed expression: `.matches(cfgs)` evaluates it, `str()` writes it so that `parse` reads the same."""


def parse(text: str) -> CfgExpression:
    """Parse what stands in the brackets of `cfg(...)`; raise `CfgSyntaxError`, which knows the position."""
    parser = _Parser(text)
    expression = parser.expression(depth=0)
    parser.end()
    return expression


def parse_target_key(key: str) -> CfgExpression | None:
    """Parse a key of a `[target]` table: the expression in `cfg(...)`, or `None` for a triple."""
    if not key.startswith("cfg("):
        return None
    if not key.endswith(")"):
        raise CfgSyntaxError(key, len(key), "expected `)`")
    return parse(key[len("cfg(") : -1])


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    raw: bool = False


_TOKEN = re.compile(
    r"""(?P<punctuation>[(),=])
      | "(?P<string>[^"]*)"
      | (?P<raw>r\#)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)""",
    re.VERBOSE,
)


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        if text[position] == " ":
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            what = "a string without an end" if text[position] == '"' else f"unexpected {text[position]!r}"
            raise CfgSyntaxError(text, position, what)
        kind = match.lastgroup or ""
        yield _Token(kind=kind, text=match[kind], position=position, raw=match["raw"] is not None)
        position = match.end()
    yield _Token(kind="end", text="the end", position=len(text))


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tuple(_tokens(text))
        self._next = 0

    def expression(self, *, depth: int) -> CfgExpression:
        token = self._peek()
        if depth > MAX_DEPTH:
            raise CfgSyntaxError(self._text, token.position, f"nested deeper than {MAX_DEPTH}")
        operator = token.text if token.kind == "name" and not token.raw else ""
        match operator:
            case "not":
                self._take()
                self._expect("(")
                operand = self.expression(depth=depth + 1)
                self._expect(")")
                return CfgNot(operand)
            case "all" | "any":
                self._take()
                operands = self._operands(depth=depth + 1)
                return CfgAll(operands) if operator == "all" else CfgAny(operands)
            case _:
                return _constant(self._name_or_pair())

    def entry(self) -> CfgName | CfgPair:
        """One whole text that is a name or a pair."""
        found = self._name_or_pair()
        self.end()
        return found

    def end(self) -> None:
        token = self._peek()
        if token.kind != "end":
            raise CfgSyntaxError(self._text, token.position, f"unexpected `{token.text}` after the expression")

    def _operands(self, *, depth: int) -> tuple[CfgExpression, ...]:
        operands: list[CfgExpression] = []
        self._expect("(")
        while not self._found(")"):
            operands.append(self.expression(depth=depth))
            if not self._found(","):
                self._expect(")")
                break
        return tuple(operands)

    def _name_or_pair(self) -> CfgName | CfgPair:
        name = self._take()
        if name.kind != "name":
            raise CfgSyntaxError(self._text, name.position, f"expected a name, found {name.text}")
        if not self._found("="):
            return CfgName(name.text)
        value = self._take()
        if value.kind != "string":
            raise CfgSyntaxError(self._text, value.position, f"expected a string, found {value.text}")
        return CfgPair(name.text, value.text)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _found(self, punctuation: str) -> bool:
        token = self._peek()
        if token.kind == "punctuation" and token.text == punctuation:
            self._take()
            return True
        return False

    def _expect(self, punctuation: str) -> None:
        token = self._peek()
        if not self._found(punctuation):
            raise CfgSyntaxError(self._text, token.position, f"expected `{punctuation}`, found {token.text}")


def _identifier(name: str) -> str:
    # What reads as an operator can only have been written raw.
    return f"r#{name}" if name in {"all", "any", "not"} else name


def _constant(entry: CfgName | CfgPair) -> CfgExpression:
    if isinstance(entry, CfgName) and entry.name in {"true", "false"}:
        return CfgConstant(entry.name == "true")
    return entry
