"""The files that let a scheduler call `factory rebuild`."""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory import __version__
from factory.errors import ConfigurationError
from factory.files import write_text
from factory.platforms import Platform
from factory.publish.tags import require_registry
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

_RUNNERS: Mapping[Scheduler, Mapping[Platform, str]] = {
    Scheduler.GITHUB: {Platform.LINUX_AMD64: "ubuntu-24.04", Platform.LINUX_ARM64: "ubuntu-24.04-arm"},
    Scheduler.GITLAB: {
        Platform.LINUX_AMD64: "saas-linux-small-amd64",
        Platform.LINUX_ARM64: "saas-linux-small-arm64",
    },
}
"""The service's own runners of each platform."""

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
    runners: Mapping[Platform, str] = field(default_factory=dict)
    """The runners to take for platforms, as GitHub labels and GitLab tags them; the platform's own for the others."""

    @property
    def rebuild(self) -> str:
        """The subcommand, as a shell reads it, but for what becomes of the images."""
        words = ["rebuild", "--state", STATE]
        if self.max_age is not None:
            words += ["--max-age", str(self.max_age)]
        return shlex.join(words)


def schedule_files(schedule: Schedule, settings: Settings) -> dict[str, str]:
    """Return the files by path; raise `ConfigurationError` for images that no scheduler can push."""
    require_registry(settings.image)
    if not settings.sources:
        raise ConfigurationError(
            "`sources` is empty, so a rebuild would find no repositories",
            advice="List the repositories by git URL or path in registry-config.yaml.",
        )
    if schedule.runners and schedule.scheduler not in _RUNNERS:
        raise ConfigurationError(
            f"--runner is for {' and '.join(_RUNNERS)}: {schedule.scheduler} runs on one machine",
            advice="Leave it out. Platforms that are not this machine's are emulated: docs/platforms.md.",
        )
    if unknown := sorted(schedule.runners.keys() - set(settings.platforms)):
        raise ConfigurationError(
            f"--runner names {', '.join(unknown)}, and `platforms` lists {', '.join(settings.platforms)}",
            advice="Name a platform of them, or add it to registry-config.yaml.",
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
        "rebuild": schedule.rebuild,
        "platforms": _platforms(schedule, settings) if len(settings.platforms) > 1 else (),
        "runner": _runner(schedule, settings.platforms[0]),
        "runner_chosen": settings.platforms[0] in schedule.runners,
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


def _platforms(schedule: Schedule, settings: Settings) -> list[dict[str, str]]:
    """Return the platforms with the runners that are theirs, none where one machine does for all."""
    return [
        {"platform": platform, "runner": _runner(schedule, platform), "name": platform.file_ending}
        for platform in settings.platforms
    ]


def _runner(schedule: Schedule, platform: Platform) -> str:
    own = _RUNNERS.get(schedule.scheduler, {})
    return schedule.runners.get(platform, own.get(platform, ""))
