"""A CARGO_HOME for resolving: the user's downloads and registries, none of the user's build settings."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import tomlkit

from factory.errors import ConfigurationError
from factory.files import write_text

# What decides where packages come from. Everything else of a user's configuration (flags, profiles, wrappers, a
# target) would change the unit keys of repositories that other machines build without it.
_KEPT = ("source", "registries", "registry", "http", "net")
_SHARED = ("registry", "git", "credentials.toml", ".package-cache", ".package-cache-mutate")


def user_cargo_home() -> Path:
    """Return the CARGO_HOME that the user's own cargo uses."""
    return Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").expanduser().absolute()


def prepare_resolving_home(folder: Path) -> Path:
    """Make `folder` a CARGO_HOME that shares the user's downloads and cargo's lock files, and return it."""
    user = user_cargo_home()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("registry", "git"):
        (user / name).mkdir(parents=True, exist_ok=True)
    for name in _SHARED:
        _link(folder / name, user / name)
    settings = {key: value for key, value in _user_settings(user).items() if key in _KEPT}
    write_text(folder / "config.toml", tomlkit.dumps(settings | {"cache": {"auto-clean-frequency": "never"}}))
    return folder


def _user_settings(user: Path) -> dict[str, Any]:
    for name in ("config", "config.toml"):
        path = user / name
        if path.is_file():
            try:
                return tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{path}: {error}", advice="Mend cargo's configuration.") from error
    return {}


def _link(link: Path, target: Path) -> None:
    # Lock files that do not exist yet must be shared too: two cargos must not write one registry at once.
    if target.name.startswith(".package-cache"):
        target.touch(exist_ok=True)
    if link.is_symlink() and link.readlink() == target:
        return
    # A link to the CARGO_HOME of an earlier run would lend its credentials to this one.
    link.unlink(missing_ok=True)
    if target.exists():
        link.symlink_to(target)
