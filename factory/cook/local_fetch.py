"""The fetch of a local cook: cargo with the configured registries, mirror and tokens, none of which stay behind."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tomlkit

from factory.cargo.ask_index import NOBODYS
from factory.cargo.fetching import CRATES_IO_FOLDER
from factory.errors import EnvironmentFaultError
from factory.files import write_text
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from factory.cargo.fetching import Fetching
    from factory.cargo.toolchain import Toolchain

_PROBE_SECONDS = 120.0
_PROBE = '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n[dependencies]\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchAccess:
    """What cargo is given when it fetches, and only then."""

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def fetch_access(fetching: Fetching, home: Path, toolchain: Toolchain) -> Iterator[FetchAccess]:
    """Yield what lets cargo fetch into the CARGO_HOME `home`; what it took is removed afterwards.

    Raises `ConfigurationError` where a token is missing, `EnvironmentFaultError` where the mirror does not answer.
    """
    fetching.require_tokens()
    with scratch("factory-fetch-") as folder:
        settings = folder / "fetch.toml"
        write_text(settings, tomlkit.dumps(fetching.cargo_settings()), mode=0o600)
        environment = fetching.environment() | fetching.write_git_configuration(folder)
        access = FetchAccess(arguments=("--config", str(settings)), environment=environment)
        if fetching.mirror is None:
            yield access
            return
        with _in_the_place_of_crates_io(_mirrors_folder(folder, access, toolchain), home):
            yield access


def _mirrors_folder(folder: Path, access: FetchAccess, toolchain: Toolchain) -> str:
    """Return what cargo calls the mirror's folders: it makes them before it finds that a crate is not there."""
    probe, home = folder / "probe", folder / "probe-home"
    write_text(probe / "Cargo.toml", f'{_PROBE}{NOBODYS} = "1"\n')
    write_text(probe / "lib.rs", "")
    words = ["fetch", *access.arguments]
    answer = toolchain.cargo(words, cwd=probe, cargo_home=home, extra=access.environment, timeout=_PROBE_SECONDS)
    made = sorted(path.name for path in (home / "registry" / "index").glob("*"))
    if len(made) != 1:
        raise EnvironmentFaultError(
            f"the mirror of crates.io does not answer:\n{answer.stderr.strip()[-1000:]}",
            advice="Check `network.mirror` and the proxy.",
        )
    return made[0]


@contextlib.contextmanager
def _in_the_place_of_crates_io(mirror: str, home: Path) -> Iterator[None]:
    """Let what the mirror delivers lie where crates.io's would: the path of its sources is part of every unit."""
    links = [home / "registry" / kind / mirror for kind in ("index", "cache", "src")]
    for link in links:
        (link.parent / CRATES_IO_FOLDER).mkdir(parents=True, exist_ok=True)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        link.unlink(missing_ok=True)
        link.symlink_to(CRATES_IO_FOLDER)
    try:
        yield
    finally:
        for link in links:
            link.unlink(missing_ok=True)
