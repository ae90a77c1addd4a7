"""What a rebuild needs beside its configuration: variables with secrets, git's way to the sources, files."""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from factory.config.access import fetching

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from factory.config.model import Settings

SOURCES_TOKEN = "SOURCES_TOKEN"  # noqa: S105 - a variable's name
"""The variable with the token for the repositories in `sources`; of several hosts each has one, by its name."""

USERNAME = "x-access-token"
"""What goes with the token of a source: GitHub wants this, GitLab any name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable with a secret: what it is for, and which rights it needs; `optional` where it may be left out."""

    name: str
    what: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredFile:
    """A file that the configuration names; `mounted` into containers, so that the engine has to see it."""

    path: str
    mounted: bool


def rebuild_variables(settings: Settings) -> tuple[Variable, ...]:
    """Return the variables of what analyzes, builds and verifies, each once: none of them signs."""
    found = [
        Variable(name=str(token.variable), what=f"a token that may read `{token.label}`")
        for token in fetching(settings).tokens
        if token.file is None
    ]
    if (settings.costs.url or "").startswith("postgres"):
        found.append(Variable(name="PGPASSWORD", what="the password of `costs.url`", optional=True))
    if settings.build_cache.type == "s3":
        what = f"of an account that may read and write below s3://{settings.build_cache.bucket}"
        found += [Variable(name=name, what=what) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    return tuple({variable.name: variable for variable in reversed(found)}.values())[::-1]


def configured_extras(settings: Settings) -> tuple[str, ...]:
    """Return the extras of factory that a rebuild uses."""
    return ("exact", "postgres") if (settings.costs.url or "").startswith("postgres") else ("exact",)


def source_variables(settings: Settings) -> tuple[Variable, ...]:
    """Return the variables with tokens for `sources` that nothing else in the configuration names."""
    return tuple(
        Variable(
            name=host.variable,
            what=f"a token that may read (clone) the `sources` of {host.origin}, where one is private",
            optional=True,
        )
        for host in _source_hosts(settings)
        if host.own
    )


def signing_variables(settings: Settings) -> tuple[Variable, ...]:
    """Return the variables of what signs by a key that is a file or in a variable."""
    key = settings.push.key or ""
    named = re.fullmatch(r"env://([A-Za-z_][A-Za-z0-9_]*)", key)
    if settings.push.sign != "key" or ("://" in key and named is None):
        # A key management service knows the job by an identity of its own, and no password.
        return ()
    found = [Variable(name="COSIGN_PASSWORD", what="the password of the key that signs")]
    if named is not None:
        found.append(Variable(name=named[1], what="the key that signs, as `cosign generate-key-pair` wrote it"))
    return tuple(found)


def git_variables(settings: Settings) -> Mapping[str, str]:
    """Return the variables by which git gets tokens for the hosts of `sources`: they name where these are.

    A host that is in `git` with a token takes that one.
    """
    hosts = _source_hosts(settings)
    rows: dict[str, str] = {"GIT_CONFIG_COUNT": str(len(hosts))} if hosts else {}
    for number, host in enumerate(hosts):
        rows[f"GIT_CONFIG_KEY_{number}"] = f"credential.{host.origin}.helper"
        rows[f"GIT_CONFIG_VALUE_{number}"] = (
            f'!f() {{ echo "username={host.username}"; echo "password={host.password}"; }}; f'
        )
    return rows


def configured_files(settings: Settings, folder: str = "") -> tuple[ConfiguredFile, ...]:
    """Return the files that the configuration names, below `folder` where they are relative, each once."""
    mounted = [str(token.file) for token in fetching(settings).tokens if token.file is not None]
    mounted += [] if settings.network.ca_bundle is None else [settings.network.ca_bundle]
    others = [] if settings.base.apt_sources is None else [settings.base.apt_sources]
    if settings.push.sign == "key" and "://" not in (settings.push.key or ""):
        others.append(str(settings.push.key))
    found = {posixpath.normpath(posixpath.join(folder, path)): path in mounted for path in (*others, *mounted)}
    return tuple(ConfiguredFile(path=path, mounted=mounts) for path, mounts in found.items())


def sources_of_one_machine(settings: Settings) -> tuple[str, ...]:
    """Return the sources that another machine does not reach: paths outside of the repository, by ssh, by file://."""
    found = []
    for source in settings.sources:
        if source.path is not None and (source.path.startswith(("/", "~")) or ".." in source.path.split("/")):
            found.append(source.path)
        elif source.git is not None and not source.git.startswith(("https://", "http://", "git://")):
            found.append(source.git)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceHost:
    """A host of repositories in `sources`, and where its token is; `own` where it serves them alone."""

    origin: str
    username: str
    password: str
    variable: str
    own: bool


def _source_hosts(settings: Settings) -> Sequence[_SourceHost]:
    # Tokens never go unencrypted.
    urls = [source.git for source in settings.sources if source.git is not None and source.git.startswith("https://")]
    origins = tuple(dict.fromkeys(f"https://{urlsplit(url).netloc}" for url in urls))
    return tuple(_hosts(settings, origins))


def _hosts(settings: Settings, origins: Sequence[str]) -> Iterator[_SourceHost]:
    known = {access.origin: access for access in fetching(settings).git if access.token is not None}
    own = [origin for origin in origins if origin not in known]
    for origin in origins:
        access = known.get(origin)
        if access is not None and access.token is not None:
            variable = access.token.variable or ""
            password = f"${variable}" if variable else f"$(cat {shlex.quote(str(access.token.file))})"
            yield _SourceHost(origin=origin, username=access.username, password=password, variable=variable, own=False)
            continue
        host = re.sub(r"[^A-Z0-9]", "_", urlsplit(origin).netloc.upper())
        variable = SOURCES_TOKEN if len(own) == 1 else f"{SOURCES_TOKEN}_{host}"
        yield _SourceHost(origin=origin, username=USERNAME, password=f"${variable}", variable=variable, own=True)
