"""The files that let a scheduler call `factory rebuild`."""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory import __version__
from factory.errors import ConfigurationError
from factory.files import write_text
from factory.templating import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.config.model import Settings
    from factory.schedule.times import CronTime

STATE = "rebuild"
"""The folder of what the last rebuild was made from, beside the configuration."""


class Scheduler(enum.StrEnum):
    """What calls a rebuild."""

    GITHUB = "github"
    GITLAB = "gitlab"
    KUBERNETES = "kubernetes"
    CRON = "cron"
    SYSTEMD = "systemd"


_FILES: Mapping[Scheduler, Mapping[str, str]] = {
    Scheduler.GITHUB: {".github/workflows/rust-builder.yml": "github.yml.jinja"},
    Scheduler.GITLAB: {"rust-builder.gitlab-ci.yml": "gitlab.yml.jinja"},
    Scheduler.KUBERNETES: {"rust-builder.k8s.yml": "kubernetes.yml.jinja"},
    Scheduler.CRON: {"rust-builder.crontab": "crontab.jinja"},
    Scheduler.SYSTEMD: {"rust-builder.service": "service.jinja", "rust-builder.timer": "timer.jinja"},
}
"""What is written for each, by path, and from which template."""

_LOGINS: Mapping[Scheduler, tuple[str, str, str]] = {
    Scheduler.GITHUB: ("ghcr.io", "${{ github.actor }}", "${{ secrets.GITHUB_TOKEN }}"),
    Scheduler.GITLAB: ("$CI_REGISTRY", "$CI_REGISTRY_USER", "$CI_REGISTRY_PASSWORD"),
}
"""The platform's own registry: its host, and who logs in by which token. Others have secrets of these names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When images are rebuilt and where; `folder` has the configuration on a machine of one's own."""

    scheduler: Scheduler
    time: CronTime
    timezone: str
    folder: Path
    max_age: int | None
    prune: bool = False
    """Whether old images are taken out of the registry afterwards."""

    @property
    def command(self) -> str:
        """What rebuilds, as a shell reads it."""
        words = ["factory", "--quiet", "rebuild", "--push", "--state", STATE]
        if self.max_age is not None:
            words += ["--max-age", str(self.max_age)]
        return shlex.join(words)


def schedule_files(schedule: Schedule, settings: Settings) -> dict[str, str]:
    """Return the files by path; raise `ConfigurationError` for images that no scheduler can push."""
    if not settings.image.registry:
        raise ConfigurationError(
            "`image.registry` is empty, so the images would go to Docker Hub or nowhere",
            advice="Name the host of the registry; docker.io for Docker Hub.",
        )
    if not settings.sources:
        raise ConfigurationError(
            "`sources` is empty, so a rebuild would find no repositories",
            advice="List the repositories by git URL or path in registry-config.yaml.",
        )
    if len(settings.platforms) > 1:
        raise ConfigurationError(
            f"`platforms` lists {', '.join(map(str, settings.platforms))}: a rebuild builds for the engine's own",
            advice="Schedule one platform; images of the others cannot be joined yet.",
        )
    values = _values(schedule, settings)
    return {path: render(f"schedule/{name}", values) for path, name in _FILES[schedule.scheduler].items()}


def write_schedule(texts: Mapping[str, str], folder: Path, *, force: bool) -> tuple[Path, ...]:
    """Write the files below a folder; raise `ConfigurationError`, and write none, where one is there already."""
    paths = {name: folder / name for name in texts}
    there = [str(path) for path in paths.values() if path.exists() or path.is_symlink()]
    if there and not force:
        raise ConfigurationError(f"{', '.join(there)}: there already", advice="Remove it, or overwrite it by --force.")
    for name, path in paths.items():
        write_text(path, texts[name])
    return tuple(paths.values())


def _values(schedule: Schedule, settings: Settings) -> dict[str, object]:
    registry = settings.image.registry
    host, user, password = _LOGINS.get(schedule.scheduler, ("", "", ""))
    if registry != host and host != "$CI_REGISTRY":
        user, password = "${{ secrets.REGISTRY_USER }}", "${{ secrets.REGISTRY_TOKEN }}"
    elif host == "$CI_REGISTRY" and not registry.startswith("registry.gitlab"):
        user, password = "$REGISTRY_USER", "$REGISTRY_TOKEN"
    return {
        "cron": str(schedule.time),
        "calendar": schedule.time.calendar if schedule.scheduler is Scheduler.SYSTEMD else "",
        "timezone": schedule.timezone,
        # A per cent sign is a line break to cron, and a specifier to systemd, which takes the line as it is.
        "folder_of_cron": shlex.quote(str(schedule.folder)).replace("%", "\\%"),
        "folder_of_systemd": str(schedule.folder).replace("%", "%%"),
        "command": schedule.command,
        "prune": schedule.prune,
        "state": STATE,
        "version": __version__,
        "registry": registry,
        "user": user,
        "password": password,
        "sign": settings.push.sign != "none",
        "keyless": settings.push.sign == "keyless",
        "key_secret": settings.push.sign == "key",
        "cache_of_github": settings.build_cache.type == "gha",
        "cache_folder": settings.build_cache.folder,
    }
