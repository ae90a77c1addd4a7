"""YAML as plain values, with the line and column of every key, and everything wrong with it at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Location = tuple[str | int, ...]
"""The keys and list indexes that lead to a value, from the top of a document."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text file; both numbers begin at 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong with a document, at a position; `location` is empty where it belongs to no key."""

    position: Position
    location: Location
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed YAML file: JSON-like `content`, where each key and item begins, scalars as written."""

    content: Mapping[str, Any] = field(default_factory=dict)
    positions: Mapping[Location, Position] = field(default_factory=dict)
    written: Mapping[Location, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def position(self, location: Location) -> Position:
        """Return where `location` is, or where the nearest thing above it is."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.positions:
                return self.positions[location[:length]]
        return Position(1, 1)


def parse_yaml(text: str) -> Document:
    """Parse one YAML 1.2 document; what is wrong with `text` stands in the result's `faults`."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        return _broken(_position(error.problem_mark or error.context_mark), _syntax_message(error))
    except YAMLError as error:
        return _broken(Position(1, 1), f"not YAML: {_first_line(error)}; save it as plain UTF-8 text")
    except RecursionError:
        return _broken(Position(1, 1), "nested too deeply; keep to the keys of the documentation")
    if root is None or _is_nothing(root):
        return Document()
    if not isinstance(root, MappingNode):
        return _broken(_position(root.start_mark), 'not a table of keys; write "key: value" lines')
    reading = _Reading()
    content = reading.mapping(root, ())
    return Document(
        content=content,
        positions=reading.positions,
        written=reading.written,
        faults=tuple(reading.faults),
    )


class _Reading:
    """One walk over a document's nodes: ruamel's own constructors stop at the first duplicate key."""

    def __init__(self) -> None:
        self.positions: dict[Location, Position] = {}
        self.written: dict[Location, str] = {}
        self.faults: list[Fault] = []
        self._seen: set[int] = set()

    def mapping(self, node: MappingNode, location: Location) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, location)
            if key is None:
                continue
            here = (*location, key)
            position = _position(key_node.start_mark)
            if key in content:
                first = self.positions[here].line
                self._fault(position, here, f"is set a second time, first in line {first}; keep one of them")
                continue
            self.positions[here] = position
            content[key] = self._value(value_node, here)
        return content

    def _sequence(self, node: SequenceNode, location: Location) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            here = (*location, index)
            # The node of an alias stands where its anchor does: then its list is the nearest place known.
            alias = id(item) in self._seen
            self.positions[here] = self.positions[location] if alias else _position(item.start_mark)
            items.append(self._value(item, here))
        return items

    def _key(self, node: Node, location: Location) -> str | None:
        # `yes`, `1` or `<<` as a key is the text it looks like: then it is merely unknown.
        if isinstance(node, ScalarNode) and _is_text(node.value):
            return str(node.value)
        self._fault(_position(node.start_mark), location, "has a key that is not plain text; write a word")
        return None

    def _value(self, node: Node, location: Location) -> Any:  # noqa: ANN401 - any JSON value
        position = self.positions[location]
        if id(node) in self._seen:
            # Expanding aliases could take for ever: an alias of aliases of aliases.
            self._fault(position, location, "is an alias (*name); write the value itself")
            return None
        self._seen.add(id(node))
        if isinstance(node, MappingNode):
            return self.mapping(node, location)
        if isinstance(node, SequenceNode):
            return self._sequence(node, location)
        self.written[location] = str(node.value)
        return self._scalar(node, location)

    def _scalar(self, node: Node, location: Location) -> Scalar:
        text = str(node.value)
        kind = str(node.tag).rpartition(":")[2]
        try:
            value = _CONVERSIONS[kind](text)
        except KeyError:
            self._fault(self.positions[location], location, f"has a tag ({node.tag}); remove it")
            return None
        except ValueError:
            self._fault(self.positions[location], location, "is a number that cannot be read; correct or quote it")
            return None
        if isinstance(value, str) and not _is_text(value):
            self._fault(self.positions[location], location, "holds half of a character; write it as UTF-8")
            return None
        return value

    def _fault(self, position: Position, location: Location, message: str) -> None:
        self.faults.append(Fault(position=position, location=location, message=message))


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0 if re.match(r"[-+]?0[xob]", digits) else 10)


def _float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)", r"\1", text.replace("_", "").lower()))


_CONVERSIONS: Mapping[str, Callable[[str], Scalar]] = {
    "str": str,
    # YAML 1.2 knows no dates: what looks like one is text.
    "timestamp": str,
    "int": _integer,
    "float": _float,
    "bool": lambda text: text.lower() == "true",
    "null": lambda _text: None,
}


def _is_nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and str(node.tag).endswith(":null")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _broken(position: Position, message: str) -> Document:
    return Document(faults=(Fault(position=position, location=(), message=message),))


def _position(mark: StringMark | None) -> Position:
    return Position(1, 1) if mark is None else Position(mark.line + 1, mark.column + 1)


def _syntax_message(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "it cannot be read")
    if "\\t" in problem:
        return "not YAML: a tab cannot indent; use blanks"
    context = f" {error.context}" if error.context else ""
    where = f" that began in line {error.context_mark.line + 1}" if context and error.context_mark else ""
    return f"not YAML: {problem}{context}{where}; correct the syntax here or just above"


def _first_line(error: YAMLError) -> str:
    return str(error).partition("\n")[0]
