"""The compilers and the engine that stages work with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.cargo.home import prepare_resolving_home
from factory.cargo.toolchain import find_toolchain, find_toolchain_in_image
from factory.config.access import fetching
from factory.engine import Engine, certificates
from factory.errors import EnvironmentFaultError
from factory.files import cache_directory, digest
from factory.platforms import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from factory.cargo.fetching import Fetching
    from factory.cargo.toolchain import Toolchain
    from factory.pipeline.run import Run


def resolving(run: Run, version: str) -> tuple[Path, Toolchain]:
    """Return the CARGO_HOME and the toolchain that resolve: they reach the registries and git hosts as configured."""
    return with_access(run, _resolving_toolchain(run, version))


def with_access(run: Run, toolchain: Toolchain) -> tuple[Path, Toolchain]:
    """Return a CARGO_HOME, and a toolchain with the variables, by which what is configured is reached."""
    access = fetching(run.settings)
    for fault in access.missing_tokens():
        run.output.warn(f"{fault}: what needs it cannot be resolved")
    cargo_home = _resolving_home(access)
    variables = access.configured_environment() | access.write_git_configuration(cargo_home / "fetch")
    trusted = certificates() if toolchain.image is not None else None
    if trusted is not None:
        # Containers see neither this machine's certificates nor the variables that name them.
        variables = {"CARGO_HTTP_CAINFO": str(trusted), **variables}
    return cargo_home, replace(toolchain, variables=tuple(sorted(variables.items())), tokens=access.tokens)


def _resolving_home(access: Fetching) -> Path:
    """Return a CARGO_HOME for these settings alone: whoever has others may resolve at the same time."""
    settings = access.cargo_settings()
    configured = digest([settings, access.git_table()])[:12] if settings or access.git else ""
    return prepare_resolving_home(cache_directory() / "-".join(filter(None, ("cargo-home", configured))), settings)


def _resolving_toolchain(run: Run, version: str) -> Toolchain:
    """Return the toolchain that the images will have: this machine's when it is the same, else the base image's."""
    host = None if run.platform is None else run.platform.rust_target
    return toolchain_like(run, version, host, run.settings.base_image, named="`toolchain` and `base.image`")


def toolchain_like(run: Run, version: str, host: str | None, image: str, *, named: str) -> Toolchain:
    """Return this machine's toolchain of a version and a host (`None`: whatever it is), or else that of an image.

    Another platform's graph has other units: its own cargo resolves it, emulated where need be. Raises
    `EnvironmentFaultError` where neither is of them; `named` is what the user should mend then.
    """
    try:
        here = find_toolchain(version)
        if host in (None, here.host):
            return here
        missing, otherwise = f"rustc {version} on this machine is for {here.host}, not {host}", ""
    except EnvironmentFaultError as error:
        missing, otherwise = error.what, error.advice
    run.output.say(f"{missing}: asking the image {image}")
    try:
        found = _toolchain_in_image(image, next((each for each in Platform if each.rust_target == host), None))
    except EnvironmentFaultError as error:
        # Most who miss a compiler need no engine: the nearest way out comes first.
        raise EnvironmentFaultError(
            f"{missing}, and {image} cannot be asked: {error.what}",
            advice="\n".join(filter(None, (otherwise, error.advice))),
        ) from error
    if found.version != version or host not in (None, found.host):
        raise EnvironmentFaultError(
            f"{image} has rustc {found.version} for {found.host}, not {version}{f' for {host}' if host else ''}",
            advice=f"Let {named} say the same.",
        )
    return found


def _toolchain_in_image(image: str, platform: Platform | None) -> Toolchain:
    engine = Engine()
    engine.require_image(image, platform)
    foreign = "" if platform in (None, engine.platform) else str(platform)
    if platform is not None and foreign:
        engine.require_runs(image, platform)
    # Cargo resolves there what lies here.
    engine.require_shared(image, [cache_directory()], foreign)
    return find_toolchain_in_image(image, foreign)


def engine_of(run: Run) -> Engine:
    """Return the engine, once it is known to run what a run is for; raise `EnvironmentFaultError` where it does not."""
    engine = Engine()
    if run.platform is not None and run.platform != engine.platform:
        engine.require_image(run.settings.base_image, run.platform)
        engine.require_runs(run.settings.base_image, run.platform)
    return engine
