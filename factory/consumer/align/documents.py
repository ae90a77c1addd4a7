"""Manifests and configurations that are edited: all else in them stays to the byte, or they are left as they are."""

from __future__ import annotations

import tomli
import tomlkit
from tomlkit.exceptions import TOMLKitError

from factory.errors import ConfigurationError


def document_of(text: str, shown: str) -> tomlkit.TOMLDocument:
    """Return the text of a file, which is `shown` so, for edits.

    Raises `ConfigurationError` where it could not be written as it was: tomlkit does not keep all that cargo takes.
    """
    try:
        document = tomlkit.parse(text)
        kept = tomlkit.dumps(document) == text
    except (TOMLKitError, RecursionError) as error:
        raise _unkept(shown) from error
    if not kept:
        raise _unkept(shown)
    return document


def text_of(document: tomlkit.TOMLDocument, shown: str) -> str:
    """Return the text of an edited document; raise `ConfigurationError` where it does not say what that does."""
    text = tomlkit.dumps(document)
    try:
        kept = tomli.loads(text) == document.unwrap()
    except tomli.TOMLDecodeError as error:
        raise _unkept(shown) from error
    if not kept:
        raise _unkept(shown)
    return text


def _unkept(shown: str) -> ConfigurationError:
    return ConfigurationError(f"{shown}: its form cannot be kept; change it by hand")
