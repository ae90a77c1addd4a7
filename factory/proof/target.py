"""What `factory verify TARGET` means: a cooked directory, or an image of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from factory.engine import Engine, ImageFacts

_ADVICE = (
    "Name a directory made by `factory build --backend local --output DIR`, or an image that `docker images` lists."
)


def cooked_directory(target: str) -> Path | None:
    """Return the absolute path of the directory that a target names, or `None` where only an image can be meant.

    Raises `ConfigurationError` for what reads as a path, or is one, and is no directory.
    """
    path = Path(target)
    if path.is_dir():
        return path.absolute()
    if path.exists():
        raise ConfigurationError(f"{target}: not a directory", advice=_ADVICE)
    if target in {"", ".", ".."} or target.startswith(("/", "./", "../", "~")):
        raise ConfigurationError(f"{target}: no such directory or image", advice=_ADVICE)
    return None


def verified_image(target: str, engine: Engine) -> ImageFacts:
    """Return the facts of an image; raise `ConfigurationError` where the engine has none of that name."""
    try:
        return engine.image(target)
    except ConfigurationError as error:
        if "/" not in target:
            raise
        raise ConfigurationError(f"{target}: no such directory or image", advice=_ADVICE) from error
