"""Data that comes with the program: inside the package when installed, beside it in a source tree."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from factory.errors import FactoryError

_SOURCE_TREE_NAMES = {"samples": "tests/samples"}


def shipped(name: str) -> Path:
    """Return the path of shipped data: `Dockerfiles`, `profiles`, `samples`, `stacks`, `registry-config.yaml`,
    `system-packages.toml` or `behaviour-features.toml`.

    Raises `FactoryError` where it is missing: the installation is broken.
    """
    package = Path(str(resources.files("factory")))
    installed = package / "_data" / name
    if installed.exists():
        return installed
    source = package.parent / _SOURCE_TREE_NAMES.get(name, name)
    if (package.parent / "pyproject.toml").is_file() and source.exists():
        return source
    raise FactoryError(f"{installed}: missing from this installation", advice="Install the program again.")


def templates() -> Path:
    """Return the folder of the templates, which lie in the package itself."""
    return Path(str(resources.files("factory"))) / "templates"
