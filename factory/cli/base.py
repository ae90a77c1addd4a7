"""`factory base`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from factory.base import HOME_MADE, build_base
from factory.cargo.toolchain import find_sysroot
from factory.cli.runs import run_of
from factory.publish.attempts import Patience
from factory.publish.distribution import pinned


def base(
    context: typer.Context,
    tag: Annotated[str, typer.Option("--tag", help="Name of the image to make.")] = f"{HOME_MADE}base:latest",
    suite: Annotated[
        str | None, typer.Option("--suite", help="Debian suite (default: `base.suite` of the configuration).")
    ] = None,
    debian_rust: Annotated[
        bool, typer.Option("--debian-rust", help="Take the suite's rustc, not this machine's.")
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="Compile for this triple too (default: those of `cook.variants`); repeatable."),
    ] = None,
    package: Annotated[
        list[str] | None, typer.Option("--package", help="Debian package to install as well; may be repeated.")
    ] = None,
    ca_bundle: Annotated[Path | None, typer.Option("--ca-bundle", help="Certificates that the image trusts.")] = None,
    pin: Annotated[
        str | None, typer.Option("--pin", help="Instead: print the digest that a tag stands for now.")
    ] = None,
) -> None:
    """Make a base image, where none can be pulled.

    It is made from Debian packages and this machine's Rust toolchain. With --pin, print the digest of an image that
    can be pulled instead. Put --platform before the command for another platform than this machine's.

    Example: factory base --tag registry.example.org/rust-base:1.95.0
    """
    run = run_of(context)
    if pin is not None:
        run.output.answer(pinned(pin, patience=Patience(attempts=run.settings.push.attempts), output=run.output))
        return
    toolchain: Path | Literal["debian"] = "debian" if debian_rust else find_sysroot(run.settings.toolchain)
    run.output.answer(
        build_base(
            tag=tag,
            suite=suite or run.settings.base.suite,
            toolchain=toolchain,
            ca_bundle=ca_bundle,
            targets=run.settings.cook.targets if target is None else target,
            more_packages=package or (),
            platform=run.platform,
            output=run.output,
        )
    )
    run.output.say(f"to build on it, set `base.image: {tag}` in registry-config.yaml, or FACTORY_BASE_IMAGE={tag}")
