"""What the fetching step of an image build is given as secrets: they reach no layer, no history and no cache key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tomlkit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.cargo.fetching import Fetching

TOKENS = "/tmp/factory/tokens"  # noqa: S108 - in the step, where /tmp is memory
"""Where Dockerfiles/fetch.sh puts each token, in a file of its own."""

VARIABLES: Mapping[str, str] = {
    "fetch-settings": "RUST_WARM_FACTORY_FETCH_SETTINGS",
    "fetch-tokens": "RUST_WARM_FACTORY_FETCH_TOKENS",
    "fetch-git": "RUST_WARM_FACTORY_FETCH_GIT",
    "fetch-proxies": "RUST_WARM_FACTORY_FETCH_PROXIES",
}
"""The variable by which `docker buildx bake` gets each secret: in no file and in no argument."""


def secret_ids(fetching: Fetching) -> tuple[str, ...]:
    """Return the ids of the secrets that a build needs; the tokens themselves are not read for it."""
    return tuple(name for name, text in _texts(fetching, tokens="?").items() if text)


def secret_variables(fetching: Fetching) -> dict[str, str]:
    """Return the variables with the secrets; raise `ConfigurationError` where a token is missing."""
    fetching.require_tokens()
    tokens = "".join(f"{token.name} {token.read()}\n" for token in fetching.tokens)
    texts = _texts(fetching, tokens=tokens)
    return {VARIABLES[name]: text for name, text in texts.items() if text}


def _texts(fetching: Fetching, *, tokens: str) -> dict[str, str]:
    inside = fetching.moved(TOKENS)
    certified = fetching.certificates()
    proxies = {name: value for name, value in fetching.environment().items() if name not in certified}
    return {
        "fetch-settings": tomlkit.dumps(inside.cargo_settings()),
        "fetch-tokens": tokens if fetching.tokens else "",
        "fetch-git": inside.git_table(),
        "fetch-proxies": "".join(f"{name}={value}\n" for name, value in sorted(proxies.items())),
    }
