"""What one run of the Docker backend builds: a plan by its settings, checked against each other, and the tags of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.cargo.fetching import Fetching
from factory.epoch import DEFAULT_EPOCH, build_date, chosen_epoch
from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.config.model import Settings
    from factory.planning.plan import Plan
    from factory.platforms import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """One run of the backend: what is built, and the directory with its bake file, recipes and reports.

    `plan` has the layers that are images of their own, `shared` the others, with those whose images they are. `epoch`
    is the time of all files in seconds since 1970, `date` the day of the build (YYYYMMDD, UTC) for tags.
    """

    plan: Plan
    settings: Settings
    folder: Path
    epoch: int
    date: str
    shared: Mapping[str, str] = field(default_factory=dict)
    base_digest: str = ""
    """Of the base image, `sha256:…`; empty where no registry knows it."""
    fetching: Fetching = field(default_factory=Fetching)
    platform: Platform | None = None
    """What it is built for; `None` for the builder's own."""
    ending: str = ""
    """What the tags in the engine end in: `-arm64`, where images of several platforms lie side by side."""
    cell: str = ""
    """The cell of the matrix that the settings are of; empty where there is no matrix."""

    @property
    def bake_file(self) -> Path:
        """The bake file."""
        return self.folder / "docker-bake.json"

    def tags(self, layer: str) -> tuple[str, ...]:
        """Return the full names of a layer's image."""
        image, plan = self.settings.image, self.plan.layer_digest(self.shared.get(layer, layer))[:12]
        tags = image.tags_of(layer=layer, rust=self.settings.toolchain, date=self.date, plan=plan)
        return tuple(f"{image.repository}:{tag}{self.ending}" for tag in tags)


def image_build(
    plan: Plan,
    settings: Settings,
    folder: Path,
    *,
    fetching: Fetching | None = None,
    base_digest: str = "",
    platform: Platform | None = None,
    ending: str = "",
    cell: str = "",
) -> ImageBuild:
    """Return the build of a plan; SOURCE_DATE_EPOCH, where it is set, gives its day and the instant of its files.

    Raises `ConfigurationError` for a SOURCE_DATE_EPOCH that is none, and where the configuration has other rustflags
    or another toolchain than the plan, or the plan is for another platform.
    """
    if tuple(settings.contract.rustflags) != plan.contract.rustflags:
        raise ConfigurationError(
            f"the plan was made for `contract.rustflags` {list(plan.contract.rustflags)}, "
            f"and the configuration has {list(settings.contract.rustflags)}",
            advice="Run `factory analyze` and `factory plan` again.",
        )
    planned = plan.contract.toolchain.version
    if planned != settings.toolchain:
        raise ConfigurationError(
            f"the plan was made for rustc {planned}, and the configuration has `toolchain` {settings.toolchain}",
            advice="Name the plan of this toolchain by --plan, or run `factory analyze` and `factory plan` again.",
        )
    if platform is not None:
        require_planned_for(plan, platform)
    chosen = chosen_epoch()
    return ImageBuild(
        plan=plan.of_images(),
        shared=plan.shared_images,
        settings=settings,
        folder=folder,
        epoch=DEFAULT_EPOCH if chosen is None else chosen,
        date=build_date(),
        base_digest=base_digest,
        fetching=fetching or Fetching(),
        platform=platform,
        ending=ending,
        cell=cell,
    )


def require_planned_for(plan: Plan, platform: Platform) -> None:
    """Raise `ConfigurationError` where a plan has the units of another platform."""
    if plan.contract.toolchain.host != platform.rust_target:
        raise ConfigurationError(
            f"the plan was made for {plan.contract.toolchain.host}, and {platform} is built",
            advice=f"Each platform has units of its own: `factory --platform {platform} analyze`, then `plan`.",
        )
