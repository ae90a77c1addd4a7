"""The files that let a scheduler call `factory rebuild`."""

from __future__ import annotations

import enum
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError
from factory.platforms import Platform
from factory.publish.distribution import require_deleting
from factory.publish.signing import COSIGN_RELEASE, COSIGN_SUMS
from factory.publish.tags import require_registry
from factory.schedule.needs import (
    configured_extras,
    configured_files,
    git_variables,
    rebuild_variables,
    signing_variables,
    source_variables,
    sources_of_one_machine,
)
from factory.schedule.package import PACKAGE_ADVICE
from factory.templating import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.config.model import Settings
    from factory.schedule.needs import Variable
    from factory.schedule.package import Package
    from factory.schedule.times import CronTime

STATE = "rebuild"
"""The folder of what the last rebuild was made from, beside the configuration."""

IN_POD = "/state"
"""Where a job of Kubernetes works; what it keeps is there."""


class Scheduler(enum.StrEnum):
    """What calls a rebuild."""

    GITHUB = "github"
    GITLAB = "gitlab"
    KUBERNETES = "kubernetes"
    CRON = "cron"
    SYSTEMD = "systemd"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traits:
    """What a scheduler is like."""

    files: Mapping[str, str]
    """What is written for it, by path, and from which template."""
    fresh_machine: bool
    """Whether a job finds nothing of the machine that wrote its schedule, but what comes with the repository.

    Such a job installs factory.
    """
    identity: bool
    """Whether a job has an identity by which it can sign without a key."""
    registries: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The service's own registries, by host, and who logs in there by which token."""
    others: tuple[str, str] = ("", "")
    """Who logs in at any other registry."""
    runners: Mapping[Platform, str] = field(default_factory=dict)
    """The service's own runners of each platform; none where it has no runners."""


_TRAITS: Mapping[Scheduler, _Traits] = {
    Scheduler.GITHUB: _Traits(
        files={".github/workflows/rust-builder.yml": "github.yml.jinja"},
        fresh_machine=True,
        identity=True,
        registries={"ghcr.io": ("${{ github.actor }}", "${{ secrets.GITHUB_TOKEN }}")},
        others=("${{ secrets.REGISTRY_USER }}", "${{ secrets.REGISTRY_TOKEN }}"),
        runners={Platform.LINUX_AMD64: "ubuntu-24.04", Platform.LINUX_ARM64: "ubuntu-24.04-arm"},
    ),
    # Which registry is GitLab's own, a job is told by GitLab.
    Scheduler.GITLAB: _Traits(
        files={"rust-builder.gitlab-ci.yml": "gitlab.yml.jinja"},
        fresh_machine=True,
        identity=True,
        runners={Platform.LINUX_AMD64: "saas-linux-small-amd64", Platform.LINUX_ARM64: "saas-linux-small-arm64"},
    ),
    Scheduler.KUBERNETES: _Traits(
        files={"rust-builder.k8s.yml": "kubernetes.yml.jinja"}, fresh_machine=True, identity=False
    ),
    Scheduler.CRON: _Traits(files={"rust-builder.crontab": "crontab.jinja"}, fresh_machine=False, identity=False),
    Scheduler.SYSTEMD: _Traits(
        files={"rust-builder.service": "service.jinja", "rust-builder.timer": "timer.jinja"},
        fresh_machine=False,
        identity=False,
    ),
}

_WITH_RUNNERS = tuple(scheduler for scheduler, traits in _TRAITS.items() if traits.runners)


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
    package: Package | None = None
    """What is installed where a job has to install factory; `None` where none is named."""
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
    """Return the files by path; raise `ConfigurationError` for what no scheduler, or not this one, can do."""
    _require_package(schedule)
    _require_images(settings)
    _require_runners(schedule, settings)
    _require_signature(schedule.scheduler, settings)
    _require_names(schedule.scheduler, rebuild_variables(settings) + signing_variables(settings))
    _require_reach(schedule, settings)
    if schedule.prune:
        require_deleting(settings.image.registry)
    values = _values(schedule, settings)
    return {path: render(f"schedule/{name}", values) for path, name in _TRAITS[schedule.scheduler].files.items()}


def _require_package(schedule: Schedule) -> None:
    """Raise `ConfigurationError` where a job would have to guess from whom factory is: it holds credentials."""
    if schedule.package is None and _TRAITS[schedule.scheduler].fresh_machine:
        raise ConfigurationError(
            f"--package is missing: a job of {schedule.scheduler} installs factory, which no public index has",
            advice=PACKAGE_ADVICE,
        )


def _require_images(settings: Settings) -> None:
    require_registry(settings.image)
    if not settings.sources:
        raise ConfigurationError(
            "`sources` is empty, so a rebuild would find no repositories",
            advice="List the repositories by git URL or path in registry-config.yaml.",
        )


def _require_runners(schedule: Schedule, settings: Settings) -> None:
    if schedule.runners and schedule.scheduler not in _WITH_RUNNERS:
        raise ConfigurationError(
            f"--runner is for {' and '.join(_WITH_RUNNERS)}: {schedule.scheduler} runs on one machine",
            advice="Leave it out. Platforms that are not this machine's are emulated: docs/platforms.md.",
        )
    if unknown := sorted(schedule.runners.keys() - set(settings.platforms)):
        raise ConfigurationError(
            f"--runner names {', '.join(unknown)}, and `platforms` lists {', '.join(settings.platforms)}",
            advice="Name a platform of them, or add it to registry-config.yaml.",
        )


def _require_signature(scheduler: Scheduler, settings: Settings) -> None:
    if settings.push.sign == "keyless" and not _TRAITS[scheduler].identity:
        able = " and ".join(name for name, traits in _TRAITS.items() if traits.identity)
        raise ConfigurationError(
            f"`push.sign` is keyless, which takes the identity of a CI job: {scheduler} has none",
            advice=f"Set `push.sign: key` with `push.key`, or let {able} rebuild.",
        )


def _require_names(scheduler: Scheduler, variables: Sequence[Variable]) -> None:
    taken = [row.name for row in variables if re.match(r"GITHUB_(?!TOKEN$)", row.name, re.IGNORECASE)]
    if taken and scheduler is Scheduler.GITHUB:
        raise ConfigurationError(
            f"{', '.join(taken)}: GitHub has no secrets whose names begin with GITHUB_",
            advice="Choose another name in `token_env`.",
        )


def _require_reach(schedule: Schedule, settings: Settings) -> None:
    """Raise `ConfigurationError` where the configuration names what a machine that is new every time lacks."""
    traits = _TRAITS[schedule.scheduler]
    if not traits.fresh_machine or schedule.runners.keys() == set(settings.platforms):
        # The machines are the user's own.
        return
    # Kubernetes mounts files, and has no repository around the configuration.
    mounts = schedule.scheduler is Scheduler.KUBERNETES
    wheel = "" if schedule.package is None else schedule.package.file
    if mounts and wheel:
        raise ConfigurationError(
            f"--package {wheel}: a job of {schedule.scheduler} has no repository with it",
            advice="Name the package by a URL, or by its name in an index.",
        )
    named = [file.path for file in configured_files(settings) if not mounts]
    files = [path for path in (*named, wheel) if path.startswith("/")]
    if files:
        raise ConfigurationError(
            f"{', '.join(files)}: a job of {schedule.scheduler} does not have what is on this machine",
            advice="Name tokens by `token_env`, other files by a path in the repository of registry-config.yaml; or "
            "run the job on runners of your own that have them: --runner for each platform.",
        )
    if schedule.package is not None and schedule.package.by_ssh:
        raise ConfigurationError(
            f"--package: a job of {schedule.scheduler} does not have this machine's ssh keys",
            advice="Name it by git+https://, or run the job on runners of your own: --runner for each platform.",
        )
    sources = sources_of_one_machine(settings)
    if mounts:
        sources = tuple(dict.fromkeys((*sources, *(row.path for row in settings.sources if row.path is not None))))
    if sources:
        raise ConfigurationError(
            f"`sources`: {', '.join(sources)}: a job of {schedule.scheduler} has neither this machine's folders nor "
            "its ssh keys",
            advice="Name the repositories by https://: what the files say about SOURCES_TOKEN makes them readable.",
        )


def _values(schedule: Schedule, settings: Settings) -> dict[str, object]:
    traits, registry = _TRAITS[schedule.scheduler], settings.image.registry
    user, password = traits.registries.get(registry, traits.others)
    extras = configured_extras(settings)
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
        "package": "" if schedule.package is None else schedule.package.with_extras(),
        # What plans: with HiGHS the selection is exact, on whatever machine.
        "planning_package": "" if schedule.package is None else schedule.package.with_extras(extras),
        "extras": ",".join(extras),
        "registry": registry,
        "own_registry": registry in traits.registries,
        "login_server": "https://index.docker.io/v1/" if registry.endswith("docker.io") else registry,
        "user": user,
        "password": password,
        "sign": settings.push.sign != "none",
        "keyless": settings.push.sign == "keyless",
        "cosign": COSIGN_RELEASE,
        "cosign_sums": COSIGN_SUMS,
        # On a machine of one's own git reads the sources as it always does.
        "rebuild_variables": rebuild_variables(settings) + (source_variables(settings) if traits.fresh_machine else ()),
        "signing_variables": signing_variables(settings),
        "git_variables": git_variables(settings),
        "git_words": {name: shlex.quote(value) for name, value in git_variables(settings).items()},
        "files": configured_files(settings, IN_POD),
        "in_pod": IN_POD,
        "own_costs": settings.costs.url is not None,
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
    return schedule.runners.get(platform, _TRAITS[schedule.scheduler].runners.get(platform, ""))
