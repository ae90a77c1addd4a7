"""A CARGO_HOME for resolving: the user's downloads and registries, none of the user's build settings."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli
import tomlkit

from factory.cargo.fetching import with_settings
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import write_text
from factory.toml_lines import fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What decides where packages come from. Everything else of a user's configuration (flags, profiles, wrappers, a
# target) would change the unit keys of repositories that other machines build without it.
_KEPT = ("source", "registries", "registry", "http", "net")
# Where both names of a file exist, cargo reads the old one.
_CONFIGURATIONS = ("config", "config.toml")
_MOST_FILES = 100
_CREDENTIALS = ("credentials", "credentials.toml")
_SHARED = ("registry", "git", *_CREDENTIALS, ".package-cache", ".package-cache-mutate")
_REGISTRY_VARIABLE = re.compile(
    r"CARGO_REGISTRIES_(?P<name>.+?)_(?:INDEX|TOKEN|SECRET_KEY|SECRET_KEY_SUBJECT|CREDENTIAL_PROVIDER|PROTOCOL)"
)


def user_cargo_home() -> Path:
    """Return the CARGO_HOME that the user's own cargo uses."""
    return Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").expanduser().absolute()


def prepare_resolving_home(folder: Path, added: Mapping[str, Any] | None = None) -> Path:
    """Make `folder` a CARGO_HOME that shares the user's downloads and cargo's lock files, and return it.

    `added` are settings on top of the user's, table by table: where our own configuration says that sources are.
    Several processes may do so at once. Raises `EnvironmentFaultError` where the user's CARGO_HOME or `folder` cannot
    be written, `ConfigurationError` for a malformed configuration of the user's.
    """
    user = user_cargo_home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _SHARED:
            _link(folder / name, _shareable(user / name))
    except OSError as error:
        raise EnvironmentFaultError(
            f"{error.filename2 or error.filename or user}: {error.strerror}: cargo's downloads cannot be shared",
            advice=f"Let this user write {user} and {folder}, or name another directory in CARGO_HOME.",
        ) from error
    settings = {key: value for key, value in _configuration(user).items() if key in _KEPT}
    text = tomlkit.dumps(with_settings(settings, added or {}) | {"cache": {"auto-clean-frequency": "never"}})
    # There may be tokens and passwords in it.
    write_text(folder / "config.toml", text, mode=0o600)
    return folder


def known_registries(cargo_home: Path) -> frozenset[str]:
    """Return the registries that a CARGO_HOME or our environment defines or holds a token for.

    Names are as written, or as cargo spells them in variables. Raises `ConfigurationError` for a malformed file.
    """
    files = _configuration(cargo_home), _first_of(cargo_home, _CREDENTIALS)
    tables = [settings.get("registries", {}) for settings in files]
    variables = (_REGISTRY_VARIABLE.fullmatch(variable) for variable in os.environ)
    return frozenset(name for table in tables for name in _tables(table)) | frozenset(
        match["name"] for match in variables if match
    )


def user_mirror() -> str | None:
    """Return the sparse index that the user's own cargo takes crates.io's packages from, `None` where it is theirs.

    Raises `ConfigurationError` where it is another kind of source: only a sparse index has what a cook needs.
    """
    return mirror_of(user_cargo_home())


def mirror_of(cargo_home: Path) -> str | None:
    """Return the same of any CARGO_HOME."""
    sources = _tables(_configuration(cargo_home).get("source"))
    name, seen = "crates-io", set[str]()
    while isinstance(following := sources.get(name, {}).get("replace-with"), str) and following not in seen:
        seen.add(following)
        name = following
    registry = sources.get(name, {}).get("registry")
    if not seen:
        return None
    if isinstance(registry, str) and registry.startswith("sparse+"):
        return registry
    raise ConfigurationError(
        f"{cargo_home}: its configuration replaces crates-io by {name!r}, which is no sparse index",
        advice="Name the sparse index of a mirror in `network.mirror`, or crates.io's own: sparse+https://index.crates.io/",
    )


def _configuration(home: Path) -> dict[str, Any]:
    """Return what the configuration of a CARGO_HOME sets, with all that it includes, as cargo does since 1.94."""
    merged: dict[str, Any] = {}
    waiting = [path for path in (home / name for name in _CONFIGURATIONS) if path.is_file()][:1]
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        settings = _read(file)
        included = list(_included(file, settings.pop("include", [])))
        if len(seen) + len(included) > _MOST_FILES or not seen.isdisjoint(included):
            what = f"{file}: its files include each other, or are more than {_MOST_FILES}"
            raise ConfigurationError(what, advice="Mend cargo's configuration.")
        seen.update(included)
        _make_absolute(settings, file.parent.parent)
        _add_beneath(merged, settings)
        # What is included last wins over what is included first, and is taken from the end.
        waiting += included
    return merged


def _included(file: Path, entries: object) -> Iterator[Path]:
    for entry in entries if isinstance(entries, list) else [entries]:
        table: dict[str, Any] = entry if isinstance(entry, dict) else {"path": entry}
        name = table.get("path")
        if not isinstance(entries, list) or not isinstance(name, str):
            what = f"{file}: `include` must be a list of paths, or of tables with a `path`"
            raise ConfigurationError(what, advice="Mend cargo's configuration.")
        path = file.parent / name
        if path.is_file() or not table.get("optional"):
            yield path


def _add_beneath(near: dict[str, Any], far: Mapping[str, Any]) -> None:
    """Put into `near` what `far` adds; lists are joined, the nearer one last."""
    for key, value in far.items():
        mine = near.setdefault(key, value)
        if mine is value:
            continue
        if isinstance(mine, dict) and isinstance(value, dict):
            _add_beneath(mine, value)
        elif isinstance(mine, list) and isinstance(value, list) and key != "credential-provider":
            near[key] = [*value, *mine]


def _first_of(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    return next((_read(path) for path in (folder / name for name in names) if path.is_file()), {})


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: {error}", advice="Mend cargo's configuration.") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", advice="Let this user read it.") from error
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}{fault(error)}", advice="Mend cargo's configuration.") from error


def _make_absolute(settings: dict[str, Any], base: Path) -> None:
    """Let paths mean what they meant: cargo takes them relative to the folder that holds the configuration's."""
    for table in _tables(settings.get("source")).values():
        _make_values_absolute(table, ("directory", "local-registry"), base)
    _make_values_absolute(settings.get("http"), ("cainfo", "proxy-cainfo"), base)


def _make_values_absolute(table: object, keys: tuple[str, ...], base: Path) -> None:
    if isinstance(table, dict):
        table.update({key: str(base / table[key]) for key in keys if isinstance(table.get(key), str)})


def _tables(value: object) -> dict[str, Any]:
    return {name: table for name, table in value.items() if isinstance(table, dict)} if isinstance(value, dict) else {}


def _shareable(path: Path) -> Path:
    """Make what cargo would make itself: lock files too, or two cargos might write one registry at once."""
    if path.name in {"registry", "git"}:
        path.mkdir(parents=True, exist_ok=True)
    elif path.name.startswith(".package-cache") and not path.exists():
        path.touch(exist_ok=True)
    return path


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    if not target.exists():
        # A link to the CARGO_HOME of an earlier run would lend its credentials to this one.
        link.unlink(missing_ok=True)
        return
    # In one step: another process may be making, or using, the same link.
    with _temporary_name(link) as temporary:
        temporary.symlink_to(target)
        temporary.replace(link)


@contextlib.contextmanager
def _temporary_name(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
