"""The compilers and the engine that stages work with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.cargo.home import prepare_resolving_home
from factory.cargo.toolchain import find_toolchain, find_toolchain_in_image
from factory.config.access import fetching
from factory.engine import Engine
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import cache_directory

if TYPE_CHECKING:
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.pipeline.run import Run


def resolving(run: Run, version: str) -> tuple[Path, Toolchain]:
    """Return the CARGO_HOME and the toolchain that resolve: they reach the registries and git hosts as configured."""
    access = fetching(run.settings)
    for fault in access.missing_tokens():
        run.output.warn(f"{fault}: what needs it cannot be resolved")
    cargo_home = prepare_resolving_home(cache_directory() / "cargo-home", access.cargo_settings())
    variables = access.configured_environment() | access.write_git_configuration(cargo_home / "fetch")
    toolchain = _resolving_toolchain(run, version)
    return cargo_home, replace(toolchain, variables=tuple(sorted(variables.items())), tokens=access.tokens)


def _resolving_toolchain(run: Run, version: str) -> Toolchain:
    """Return the toolchain that the images will have: this machine's when it is the same, else the base image's."""
    try:
        return find_toolchain(version)
    except EnvironmentFaultError as here:
        run.output.say(f"{here.what}: asking the base image {run.settings.base_image}")
        Engine().require_image(run.settings.base_image)
        found = find_toolchain_in_image(run.settings.base_image)
        if found.version != version:
            raise EnvironmentFaultError(
                f"{run.settings.base_image} has rustc {found.version}, not {version}",
                advice="Let `toolchain` and `base.image` say the same.",
            ) from here
        return found


def engine_of(run: Run) -> Engine:
    """Return the engine; raise `ConfigurationError` where the configuration wants what is not built here."""
    engine = Engine()
    others = [platform for platform in run.platforms if platform != engine.platform]
    if others:
        raise ConfigurationError(
            f"this engine builds for {engine.platform}, and `platforms` lists {', '.join(others)}",
            advice="A platform's units are resolved and cooked on a machine of that platform: build them there.",
        )
    return engine
