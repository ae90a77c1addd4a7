"""From the settings to how sources are fetched: which registries, git hosts, mirror and proxy, and where tokens are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from factory.cargo.fetching import Fetching, GitAccess, RegistryAccess, Token

if TYPE_CHECKING:
    from factory.config.model import GitAccessSettings, RegistrySettings, Settings


def fetching(settings: Settings, *, user_mirror: str | None = None) -> Fetching:
    """Return how sources are fetched; `user_mirror` is taken where the settings name none."""
    network = settings.network
    return Fetching(
        registries=tuple(
            RegistryAccess(
                name=each.name, index=each.index, token=_token(each, f"registries: {each.name}", f"registry-{number}")
            )
            for number, each in enumerate(settings.registries)
        ),
        git=tuple(
            GitAccess(url=each.url, username=each.username, token=_token(each, f"git: {each.url}", f"git-{number}"))
            for number, each in enumerate(settings.git)
        ),
        mirror=network.mirror or user_mirror,
        proxy=network.proxy,
        ca_bundle=None if network.ca_bundle is None else Path(network.ca_bundle),
        retries=network.retries,
    )


def _token(settings: RegistrySettings | GitAccessSettings, label: str, name: str) -> Token | None:
    if settings.token_env is None and settings.token_file is None:
        return None
    file = None if settings.token_file is None else Path(settings.token_file)
    return Token(label=label, name=name, variable=settings.token_env, file=file)
