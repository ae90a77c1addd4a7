"""Features by edits of the dependencies that packages name themselves; all else of a manifest stays to the byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli
import tomlkit
from tomlkit.exceptions import TOMLKitError

from factory.cargo.requirement import is_met
from factory.consumer.align.documents import document_of
from factory.errors import ConfigurationError
from factory.model import Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tomlkit.items import Item

    from factory.model import PackageId

_OTHER_SOURCES = frozenset({"path", "git", "registry", "registry-index"})


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Place:
    """A dependency in a manifest: the keys that lead to it, the last of which is what the package calls it."""

    manifest: str
    keys: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The place as a reader of the manifest knows it."""
        return f"{self.manifest}: {self.keys[-1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectDependencies:
    """What some packages depend on themselves, by the content of their manifests, which `users` are.

    `inherited` is the workspace's own table of dependencies. `applies` says of a key of `[target]` whether it is about
    the images' platform.
    """

    users: Mapping[str, Mapping[str, Any]]
    inherited: Mapping[str, Any]
    applies: Callable[[str], bool]

    @classmethod
    def read(
        cls, texts: Mapping[str, str], users: Iterable[str], root: str, applies: Callable[[str], bool]
    ) -> DirectDependencies:
        """Read the manifests at `users`, and the workspace's own at `root`."""
        workspace = _table(tomli.loads(texts[root]), "workspace")
        return cls(
            users={user: tomli.loads(texts[user]) for user in sorted(users)},
            inherited=_table(workspace, "dependencies"),
            applies=applies,
        )

    def of(self, package: PackageId, side: Side, *, is_macro: bool) -> tuple[Place, ...]:
        """Return where users name a package for one side, one place for each user; empty where none does.

        A proc-macro is of the host side, and may stand in either kind of table.
        """
        kinds = ["dependencies"] if side is Side.TARGET else ["build-dependencies"]
        kinds += ["dependencies"] if is_macro else []
        found = (next(self._places(user, package, kinds), None) for user in self.users)
        return tuple(place for place in found if place is not None)

    def _places(self, user: str, package: PackageId, kinds: Sequence[str]) -> Iterator[Place]:
        document = self.users[user]
        platforms = _table(document, "target")
        for kind in kinds:
            tables = [(kind,), *(("target", key, kind) for key in platforms if self.applies(key))]
            for keys in tables:
                for name, value in _lookup(document, keys).items():
                    if _names(value, name, package, self.inherited):
                        yield Place(manifest=user, keys=(*keys, name))


def with_features(texts: Mapping[str, str], wanted: Mapping[Place, Iterable[str]]) -> dict[str, str]:
    """Return the manifests with more features of some dependencies.

    Raises `ValueError`, with the place, for a dependency whose form cannot be kept.
    """
    made = dict(texts)
    for place, features in sorted(wanted.items()):
        text = made[place.manifest]
        made[place.manifest] = _edited(text, place, sorted(features))
        _require_only(text, made[place.manifest], place, frozenset(features))
    return made


def _edited(text: str, place: Place, features: Sequence[str]) -> str:
    try:
        document = document_of(text, place.manifest)
        table = _lookup(document, place.keys[:-1])
        name = place.keys[-1]
        value = table[name]
        if not isinstance(value, MutableMapping):
            table[name] = _like(value, f"{{ version = {_as_written(value)}, features = {json.dumps(features)} }}")
        elif "features" in value:
            value["features"].extend(feature for feature in features if feature not in value["features"])
        elif isinstance(value, tomlkit.items.InlineTable):
            table[name] = _like(value, _with_key(_as_written(value), f"features = {json.dumps(features)}"))
        elif isinstance(value, tomlkit.items.Table) and not value.is_super_table():
            _add_line(value, f"features = {json.dumps(features)}")
        else:
            # Dotted keys, each with a line of its own.
            value["features"] = list(features)
        return tomlkit.dumps(document)
    except ConfigurationError as error:
        raise ValueError(error.what) from error
    except (TOMLKitError, KeyError, TypeError, AttributeError) as error:
        message = f"{place.shown}: cannot be edited: {error}"
        raise ValueError(message) from error


def _with_key(inline: str, key: str) -> str:
    """Return an inline table with one key more: behind the others, before them where a comment is behind the last."""
    body = inline[:-1].rstrip()
    room = inline[len(body) : -1]
    last = body.rpartition("\n")[2]
    if "#" in last:
        head = inline[: len(inline) - len(inline[1:].lstrip())]
        return f"{head}{key},{head[1:] or ' '}{inline[len(head) :]}"
    comma = "" if body.endswith(("{", ",")) else ","
    if "\n" in room:
        indent = last[: len(last) - len(last.lstrip())]
        return f"{body}{comma}\n{indent}{key},{room}}}"
    return f"{body}{comma} {key}{room}}}"


def _add_line(table: tomlkit.items.Table, line: str) -> None:
    """Add a line below the last key of a table: tomlkit would put it below the comments on what follows."""
    *_, last = (item for key, item in table.value.body if key is not None)
    end = last.trivia.trail
    last.trivia.trail = f"{end or chr(10)}{line}{end}"


def _like(value: Item, text: str) -> Item:
    """Return an item with the comment that stood behind another."""
    made: Item = tomlkit.value(text)
    made.trivia.comment_ws, made.trivia.comment = value.trivia.comment_ws, value.trivia.comment
    return made


def _as_written(value: Item) -> str:
    return value.as_string()


def _names(value: object, name: str, package: PackageId, inherited: Mapping[str, Any]) -> bool:
    """Whether a dependency is on a package of crates.io at its version."""
    detail = value if isinstance(value, Mapping) else {"version": value}
    if detail.get("workspace") is True:
        below = inherited.get(name, {})
        detail = below if isinstance(below, Mapping) else {"version": below}
    requirement = detail.get("version")
    if detail.get("package", name) != package.name or _OTHER_SOURCES & detail.keys():
        return False
    try:
        return isinstance(requirement, str) and is_met(requirement, package.version)
    except ValueError:
        # What we cannot read we do not edit.
        return False


def _require_only(before: str, after: str, place: Place, features: frozenset[str]) -> None:
    """Raise `ValueError` unless the features are there and nothing else changed."""
    old, new = tomli.loads(before), tomli.loads(after)
    (was, had), (now, has) = (_without_features(document, place) for document in (old, new))
    if was != now or not had | features <= has:
        message = f"{place.shown}: cannot be edited"
        raise ValueError(message)


def _without_features(document: dict[str, Any], place: Place) -> tuple[dict[str, Any], frozenset[str]]:
    table = _lookup(document, place.keys[:-1])
    value = table[place.keys[-1]]
    detail = dict(value) if isinstance(value, Mapping) else {"version": value}
    features = frozenset(detail.pop("features", ()))
    table[place.keys[-1]] = detail
    return document, features


def _lookup(document: Mapping[str, Any], keys: Sequence[str]) -> Any:  # noqa: ANN401 - tomlkit's containers, or dicts
    current: Any = document
    for key in keys:
        current = _table(current, key)
    return current


def _table(holder: Any, name: str) -> Any:  # noqa: ANN401 - as above
    found = holder.get(name)
    return found if isinstance(found, Mapping) else {}
