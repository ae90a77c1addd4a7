"""From a file and the environment to one checked configuration that knows where each value comes from."""

from __future__ import annotations

import enum
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from factory.config.environment import Override, read_environment
from factory.config.model import Settings, has_digest
from factory.config.positions import Document, Fault, Location, Position, parse_yaml
from factory.config.schema import dotted, leaves, schema_of
from factory.config.wording import describe
from factory.errors import ConfigurationError
from factory.program_variables import ProgramVariable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

FILE_NAME = "registry-config.yaml"

ADVICE = "docs/configuration.md explains every key; `factory config schema` prints them for an editor."


class SourceKind(enum.StrEnum):
    """What can set a value; each overrides the one before."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a value comes from: `where` is "default", "registry-config.yaml:12" or the name of a variable."""

    kind: SourceKind
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings of a run, the file they were read from if there was one, and where each came from."""

    settings: Settings
    file: Path | None
    folder: Path
    """What relative paths in `sources` are relative to: the file's directory, else where the search began."""
    sources: Mapping[str, Source]
    warnings: tuple[str, ...]


def load_configuration(path: Path | None, *, environ: Mapping[str, str], start: Path) -> Configuration:
    """Read `path`, else what `FACTORY_CONFIG` names, else the nearest file from `start` up, else the defaults.

    The search goes up to the root of the git repository around `start`; outside of one it stays in `start`.
    Raises `ConfigurationError` with every fault at once, one a line: `file:line:col: key: what, and what to do`,
    or `environment: FACTORY_X: what, and what to do`.
    """
    file = _file(path, environ, start)
    name = "" if file is None else _shown(file, start)
    document = Document() if file is None else parse_yaml(_text(file, name))
    schema = json_schema()
    overrides, complaints = read_environment(environ, schema)
    draft = _Draft(name=name, document=document, overrides=overrides, schema=schema)
    settings, problems = draft.validate()
    if settings is None or problems or complaints:
        raise ConfigurationError("\n".join((*problems, *complaints)), advice=ADVICE)
    return Configuration(
        settings=settings,
        file=file,
        folder=start if file is None else file.absolute().parent,
        sources=MappingProxyType(draft.sources()),
        warnings=tuple(draft.warnings(settings)),
    )


def show(configuration: Configuration) -> list[tuple[str, str, str]]:
    """Return a row for every key: dotted key, value as one would write it in YAML, where it comes from."""
    content = configuration.settings.model_dump(mode="json", by_alias=True)
    return [
        (leaf.key, _written(_at(content, leaf.location)), configuration.sources[leaf.key].where)
        for leaf in leaves(json_schema())
    ]


@functools.cache
def json_schema() -> Mapping[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `registry-config.yaml`, for editors and other tools.

    Made once: it takes twenty times as long as to read a configuration.
    """
    return schema_of(Settings) | {"title": FILE_NAME}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """What the file and the environment say, before anybody knows whether it makes sense."""

    name: str
    document: Document
    overrides: tuple[Override, ...]
    schema: Mapping[str, Any]

    def validate(self) -> tuple[Settings | None, tuple[str, ...]]:
        """Return the settings if they can be made, and every problem: the file's in its order, then variables."""
        found = [(self._sort_key(fault), self._file_line(fault)) for fault in self.document.faults]
        settings = None
        try:
            # As JSON, strict types still take lists for tuples and names for enums.
            settings = Settings.model_validate_json(json.dumps(self._merged()))
        except ValidationError as error:
            found += [self._problem(details) for details in error.errors() if not self._is_told(details)]
        return settings, tuple(line for _, line in sorted(found))

    def sources(self) -> dict[str, Source]:
        return {leaf.key: self._source(leaf.location) for leaf in leaves(self.schema)}

    def warnings(self, settings: Settings) -> Iterator[str]:
        if settings.base.image is not None and not has_digest(settings.base.image):
            message = f"{settings.base.image} can change under its tag; pin it as name:tag@sha256:…"
            yield self._line(("base", "image"), message)[1]

    def _merged(self) -> dict[str, Any]:
        merged: dict[str, Any] = json.loads(json.dumps(self.document.content))
        for override in self.overrides:
            table: Any = merged
            for step in override.location[:-1]:
                table = table.setdefault(step, {}) if isinstance(table, dict) else None
            if isinstance(table, dict):
                table[override.location[-1]] = override.value
        return merged

    def _problem(self, details: ErrorDetails) -> tuple[tuple[int, Position, str], str]:
        location = details["loc"]
        written = None if self._variable(location) else self.document.written.get(location)
        message = describe(details, schema=self.schema, written=written)
        # What is at odds between keys is told of their table, and begins with the one to look at.
        key, _, told = message.partition(": ")
        blamed = (*location, *key.split("."))
        by_variable = self._variable(blamed) is not None and self._variable(location) is None
        if told and (by_variable or blamed in self.document.positions):
            return self._line(blamed, told)
        return self._line(location, message)

    def _line(self, location: Location, message: str) -> tuple[tuple[int, Position, str], str]:
        variable = self._variable(location)
        if variable is not None:
            return (1, Position(1, 1), variable), f"environment: {variable}: {message}"
        fault = Fault(position=self.document.position(location), location=location, message=message)
        return self._sort_key(fault), self._file_line(fault)

    def _sort_key(self, fault: Fault) -> tuple[int, Position, str]:
        return (0, fault.position, dotted(fault.location))

    def _file_line(self, fault: Fault) -> str:
        # Without a file only variables can be wrong, one at odds with the default of another key for instance.
        where = f"{self.name}:{fault.position}" if self.name else "environment"
        return f"{where}: {dotted(fault.location)}: {fault.message}" if fault.location else f"{where}: {fault.message}"

    def _is_told(self, details: ErrorDetails) -> bool:
        """Whether the value is missing only because it could not be read."""
        return details["input"] is None and any(fault.location == details["loc"] for fault in self.document.faults)

    def _variable(self, location: Location) -> str | None:
        for override in self.overrides:
            if location[: len(override.location)] == override.location:
                return override.variable
        return None

    def _source(self, location: Location) -> Source:
        variable = self._variable(location)
        if variable is not None:
            return Source(kind=SourceKind.ENVIRONMENT, where=variable)
        position = self.document.positions.get(location)
        if position is not None:
            return Source(kind=SourceKind.FILE, where=f"{self.name}:{position.line}")
        return Source(kind=SourceKind.DEFAULT, where="default")


def _file(path: Path | None, environ: Mapping[str, str], start: Path) -> Path | None:
    if path is not None:
        return start / path
    named = environ.get(ProgramVariable.CONFIG)
    if named:
        return start / Path(named).expanduser()
    return next((folder / FILE_NAME for folder in _searched(start) if (folder / FILE_NAME).exists()), None)


def _searched(start: Path) -> list[Path]:
    """Return the directories to look into; above a repository are other people's files."""
    folders = [start, *start.absolute().parents]
    root = next((index for index, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    return folders[: root + 1]


def _shown(file: Path, start: Path) -> str:
    relative = os.path.relpath(file, start)
    return str(file) if relative.startswith(f"..{os.sep}..") else relative


def _text(file: Path, name: str) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        message = f"{name}:{line}:{column}: not UTF-8; save the file as UTF-8"
        raise ConfigurationError(message, advice=ADVICE) from error
    except OSError as error:
        message = f"{name}: {error.strerror}"
        advice = "Name a readable file with --config or FACTORY_CONFIG."
        raise ConfigurationError(message, advice=advice) from error


def _at(content: Any, location: Location) -> Any:  # noqa: ANN401 - any JSON value
    for step in location:
        content = content[step]
    return content


def _written(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
