"""How sources are fetched: from which registries and git hosts, through which mirror and proxy, with which tokens.

A token is read where the user keeps it, in a variable or a file, at the moment when cargo asks for it. What is written
down (a cargo configuration, a table for git's credential helper) names that place only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from factory.cargo.sources import CookableSources
from factory.errors import ConfigurationError
from factory.files import write_text
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

CRATES_IO_FOLDER = "index.crates.io-1949cf8c6b5b557f"
"""What cargo (since 1.85) calls the folders of crates.io below `registry`: Dockerfiles/fetch.sh has it too."""

GIT_HELPER = "git-credential.sh"
"""Git's credential helper, beside the Dockerfiles."""

PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
"""The variables that cargo and git take proxies from. Not HTTP_PROXY, which libcurl does not read."""

GIT_COMMAND = {"CARGO_NET_GIT_FETCH_WITH_CLI": "true", "GIT_TERMINAL_PROMPT": "0"}
"""Let cargo call git: its own git forgets about credentials as soon as certificates or a proxy are named."""

_MIRROR = "factory-mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Where a token is, never the token: `label` says what it is for, `name` is good for a file of its own."""

    label: str
    name: str
    variable: str | None = None
    file: Path | None = None

    def read(self) -> str:
        """Return the token; raise `ConfigurationError` where there is none, or one that is no single line."""
        text = os.environ.get(str(self.variable), "") if self.file is None else self._text(self.file)
        token = text.strip()
        if not token or not token.isprintable():
            what = "is not set" if self.file is None else "is empty"
            raise ConfigurationError(
                f"{self.label}: {self.place} {what if not token else 'holds more than one line'}",
                advice="Put the token there, alone; docs/private-sources.md says which.",
            )
        return token

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"the variable {self.variable}" if self.file is None else str(self.file)

    @property
    def printed_by(self) -> tuple[str, ...]:
        """The command that prints it."""
        return ("printenv", str(self.variable)) if self.file is None else ("cat", str(self.file))

    def moved(self, folder: str) -> Token:
        """Return the token as a file of `folder`."""
        return replace(self, variable=None, file=Path(folder) / self.name)

    def _text(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigurationError(f"{self.label}: {file}: {reason}", advice="Let this user read it.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """A registry beside crates.io: its name in cargo's configuration, the URL of its index as in lockfiles."""

    name: str
    index: str
    token: Token | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAccess:
    """A git host, a folder of it or a repository; the token goes to the URL's host and nowhere else."""

    url: str
    username: str = ""
    token: Token | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port, as git gives them to a credential helper."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """All that decides how sources are fetched; `retries` of `None` leaves cargo's own number."""

    registries: tuple[RegistryAccess, ...] = ()
    git: tuple[GitAccess, ...] = ()
    mirror: str | None = None
    """The sparse index that stands in for crates.io's."""
    proxy: str | None = None
    ca_bundle: Path | None = None
    retries: int | None = None

    @property
    def cookable(self) -> CookableSources:
        """The sources whose packages may be cooked."""
        return CookableSources(
            registries=frozenset(registry.index for registry in self.registries),
            git=tuple(access.url for access in self.git),
        )

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All tokens, those of registries first."""
        found = (*(registry.token for registry in self.registries), *(access.token for access in self.git))
        return tuple(token for token in found if token is not None)

    def require_tokens(self) -> None:
        """Raise `ConfigurationError` naming every token that cannot be read."""
        faults = self.missing_tokens()
        if faults:
            raise ConfigurationError("\n".join(faults), advice="docs/private-sources.md says how tokens are named.")

    def missing_tokens(self) -> tuple[str, ...]:
        """Say of every token that cannot be read why that is."""
        return tuple(fault for fault in map(_fault, self.tokens) if fault is not None)

    def with_tokens_here(self) -> Fetching:
        """Return the same without the tokens that cannot be read: nobody is logged in where they are for."""
        missing = {token for token in self.tokens if _fault(token) is not None}
        return replace(
            self,
            registries=tuple(replace(each, token=None) if each.token in missing else each for each in self.registries),
            git=tuple(replace(each, token=None) if each.token in missing else each for each in self.git),
        )

    def moved(self, folder: str) -> Fetching:
        """Return the same with every token as a file of `folder`."""
        return replace(
            self,
            registries=tuple(replace(each, token=each.token and each.token.moved(folder)) for each in self.registries),
            git=tuple(replace(each, token=each.token and each.token.moved(folder)) for each in self.git),
        )

    def cargo_settings(self) -> dict[str, Any]:
        """Return what a cargo configuration has to say of it; `ca_bundle` and proxies come by environment."""
        settings: dict[str, Any] = {}
        if self.registries:
            settings["registries"] = {each.name: _registry_table(each) for each in self.registries}
        if self.mirror is not None:
            # A registry of ours may be the mirror, and need a token: cargo then wants its name.
            named = next((each.name for each in self.registries if each.index == self.mirror), _MIRROR)
            settings["source"] = {"crates-io": {"replace-with": named}}
            if named == _MIRROR:
                settings["source"][_MIRROR] = {"registry": self.mirror}
        if self.retries is not None:
            settings["net"] = {"retry": self.retries}
        return settings

    def git_table(self) -> str:
        """Return the table that the credential helper reads: origin, user name, `env` or `file`, which one."""
        rows = [(each, each.token) for each in self.git if each.token is not None]
        return "".join(
            f"{each.origin} {each.username} {'env' if token.file is None else 'file'} {token.file or token.variable}\n"
            for each, token in rows
        )

    def environment(self) -> dict[str, str]:
        """Return the variables for cargo: proxies as they are here unless one is configured, and certificates."""
        kept = {name: os.environ[name] for name in PROXIES if os.environ.get(name)}
        return kept | self.configured_environment()

    def configured_environment(self) -> dict[str, str]:
        """Return the variables that the configuration alone makes: its proxy in place of any other, certificates."""
        # Cargo looks for the names in small letters first.
        names = [name for name in PROXIES if name.lower() != "no_proxy"]
        return (dict.fromkeys(names, self.proxy) if self.proxy else {}) | self.certificates()

    def certificates(self) -> dict[str, str]:
        """Return the variables that make cargo and git trust the configured bundle; none without one."""
        if self.ca_bundle is None:
            return {}
        return dict.fromkeys(("CARGO_HTTP_CAINFO", "SSL_CERT_FILE", "GIT_SSL_CAINFO"), str(self.ca_bundle))

    def write_git_configuration(self, folder: Path) -> dict[str, str]:
        """Write git's configuration with the credential helper into `folder`; return the variables that name it.

        Nothing is written, and nothing returned, where no git host has a token.
        """
        table = self.git_table()
        if not table:
            return {}
        helper, credentials = folder / GIT_HELPER, folder / "git-credentials"
        write_text(helper, (shipped("Dockerfiles") / GIT_HELPER).read_text(encoding="utf-8"))
        write_text(credentials, table)
        users = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "git" / "config"
        include = f'[include]\n\tpath = "{users}"\n' if users.is_file() else ""
        text = f"{include}[credential]\n\thelper = \"!sh '{helper}' '{credentials}'\"\n"
        write_text(folder / "git" / "config", text)
        return {"XDG_CONFIG_HOME": str(folder), **GIT_COMMAND}


def machine_proxies() -> dict[str, str]:
    """Return the variables with this machine's proxies, HTTP_PROXY among them.

    They are for containers in which other programs download too, and each reads the names that it knows.
    """
    names = {name.lower() for name in PROXIES}
    return {name: value for name, value in os.environ.items() if name.lower() in names}


def _fault(token: Token) -> str | None:
    try:
        token.read()
    except ConfigurationError as error:
        return error.what
    return None


def _registry_table(registry: RegistryAccess) -> Mapping[str, Any]:
    if registry.token is None:
        return {"index": registry.index}
    provider = ["cargo:token-from-stdout", *registry.token.printed_by]
    return {"index": registry.index, "credential-provider": provider}


def with_settings(base: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Return cargo settings with others on top: an added table replaces one of its name, two tables deep."""
    merged = {name: dict(table) if isinstance(table, dict) else table for name, table in base.items()}
    for name, table in added.items():
        known = merged.get(name)
        merged[name] = {**known, **table} if isinstance(known, dict) else dict(table)
    return merged
