"""What `factory init` writes into a project: a Dockerfile on the warm images, `.dockerignore`, a CI workflow."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError
from factory.templating import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.config.model import Settings
    from factory.consumer.project import Project

CARGO_CHEF = "0.1.78"
SCCACHE = "0.19.0"
"""What a Dockerfile installs where the image has none and the configuration names no version."""

DEBIAN = {"bookworm": "12", "trixie": "13"}
"""The suites that distroless images exist for, with their number."""

_ALWAYS_HERE = ("ca-certificates",)


class Flavour(enum.StrEnum):
    """How the dependencies that the image lacks are kept from build to build."""

    PLAIN = "plain"
    CHEF = "chef"
    CHEF_SCCACHE = "chef+sccache"


class Runtime(enum.StrEnum):
    """What the finished program stands on."""

    DISTROLESS = "distroless"
    SLIM = "slim"


class Ci(enum.StrEnum):
    """Whose workflow is written."""

    GITHUB = "github"
    GITLAB = "gitlab"
    NONE = "none"


class LayerCache(enum.StrEnum):
    """Where CI keeps the steps of the Dockerfile."""

    GHA = "gha"
    REGISTRY = "registry"
    INLINE = "inline"


class CompilerCache(enum.StrEnum):
    """Where sccache keeps what it compiled."""

    LOCAL = "local"
    GHA = "gha"
    S3 = "s3"
    GCS = "gcs"
    REDIS = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """What sccache takes for one store: build arguments that are no secret, and those that are."""

    arguments: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


# https://github.com/mozilla/sccache/tree/main/docs
_STORES: Mapping[CompilerCache, _Store] = {
    CompilerCache.LOCAL: _Store(),
    CompilerCache.GHA: _Store(
        arguments=("SCCACHE_GHA_ENABLED",), secrets=("ACTIONS_RESULTS_URL", "ACTIONS_RUNTIME_TOKEN")
    ),
    CompilerCache.S3: _Store(
        arguments=("SCCACHE_BUCKET", "SCCACHE_REGION"), secrets=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    ),
    CompilerCache.GCS: _Store(arguments=("SCCACHE_GCS_BUCKET",), secrets=("SCCACHE_GCS_OAUTH_URL",)),
    CompilerCache.REDIS: _Store(secrets=("SCCACHE_REDIS_ENDPOINT",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user wants; `builder` is the reference of the image to build on, `program` the one that it runs."""

    builder: str
    flavour: Flavour
    runtime: Runtime | None
    ci: Ci
    layer_cache: LayerCache
    compiler_cache: CompilerCache
    program: str | None
    branch: str
    build_packages: tuple[str, ...] = ()
    """Debian packages that the dependencies need to compile and the image may lack."""
    runtime_packages: tuple[str, ...] = ()
    """Debian packages that the finished program needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFiles:
    """Texts by path below the project, and what its owner has to know."""

    texts: Mapping[str, str]
    remarks: tuple[str, ...]


def make_files(project: Project, choices: Choices, settings: Settings) -> ProjectFiles:
    """Write out the files of a project; raise `ConfigurationError` for choices that do not go together."""
    runtime = choices.runtime or _runtime_for(choices, settings)
    values = _values(project, choices, settings, runtime)
    plain = choices.flavour is Flavour.PLAIN
    texts = {
        "Dockerfile": _render("plain.Dockerfile.jinja" if plain else "chef.Dockerfile.jinja", values),
        ".dockerignore": _render("dockerignore.jinja", values),
    }
    if choices.ci is Ci.GITHUB:
        texts[".github/workflows/image.yml"] = _render("github.yml.jinja", values)
    elif choices.ci is Ci.GITLAB:
        if choices.layer_cache is LayerCache.GHA:
            raise ConfigurationError("--cache gha is GitHub's", advice="With --ci gitlab take registry or inline.")
        texts[".gitlab-ci.yml"] = _render("gitlab.yml.jinja", values)
    return ProjectFiles(texts=texts, remarks=tuple(_remarks(project, choices, settings, runtime)))


def _runtime_for(choices: Choices, settings: Settings) -> Runtime:
    # Distroless images have glibc, libgcc and OpenSSL, and no package manager to add to them.
    small = settings.base.suite in DEBIAN and not set(choices.runtime_packages) - {"libssl3", "libssl3t64"}
    return Runtime.DISTROLESS if small else Runtime.SLIM


def _values(project: Project, choices: Choices, settings: Settings, runtime: Runtime) -> dict[str, object]:
    store = _STORES[choices.compiler_cache]
    sccache = choices.flavour is Flavour.CHEF_SCCACHE
    suite = settings.base.suite
    if runtime is Runtime.DISTROLESS and suite not in DEBIAN:
        raise ConfigurationError(
            f"--runtime distroless: there is no such image for Debian {suite}", advice="Take --runtime slim."
        )
    return {
        "builder": choices.builder,
        "name": project.name,
        "programs": project.programs,
        "program": _entry(project, choices),
        "user": settings.user,
        "cargo_home": settings.contract.cargo_home,
        "toolchain": settings.toolchain,
        "toolchain_pin": project.workspace.toolchain_pin,
        "build_packages": sorted(choices.build_packages),
        "runtime": runtime,
        "runtime_packages": sorted({*_ALWAYS_HERE, *choices.runtime_packages}),
        "suite": suite,
        "debian": DEBIAN.get(suite, ""),
        "output": f"{project.targets[0]}/release" if len(project.targets) == 1 else "release",
        "environment": "SQLX_OFFLINE=true " if project.checked_queries and project.saved_queries else "",
        "cargo_chef": settings.tools.cargo_chef or CARGO_CHEF,
        "sccache": (settings.tools.sccache or SCCACHE) if sccache else None,
        "sccache_environment": _sccache_environment(choices.compiler_cache, settings) if sccache else (),
        "sccache_secrets": store.secrets if sccache else (),
        "mounts": " \\\n    ".join(_mounts(project, choices, settings)),
        "branch": choices.branch,
        "cache": choices.layer_cache,
        "private_registry": settings.image.registry if settings.image.registry not in ("", "ghcr.io") else "",
    }


def _entry(project: Project, choices: Choices) -> str:
    if choices.program is not None and choices.program not in project.programs:
        raise ConfigurationError(
            f"--bin {choices.program}: no such program", advice=f"There are {', '.join(project.programs)}."
        )
    return choices.program or (project.name if project.name in project.programs else project.programs[0])


def _mounts(project: Project, choices: Choices, settings: Settings) -> Sequence[str]:
    owner = f"uid={settings.user.uid},gid={settings.user.gid}"
    registry = f"{settings.contract.cargo_home}/registry"
    mounts = [
        f"--mount=type=cache,id={project.name}-registry-${{TARGETARCH}},target={registry},from=warm,source={registry},"
        f"{owner},sharing=locked"
    ]
    if choices.flavour is Flavour.CHEF_SCCACHE:
        folder = _sccache_folder(settings)
        mounts.append(f"--mount=type=cache,id=sccache-${{TARGETARCH}},target={folder},{owner}")
        mounts += [
            f"--mount=type=secret,id={name.lower()},env={name}" for name in _STORES[choices.compiler_cache].secrets
        ]
    return mounts


def _sccache_folder(settings: Settings) -> str:
    return f"/home/{settings.user.name}/.cache/sccache"


def _sccache_environment(store: CompilerCache, settings: Settings) -> Sequence[str]:
    lines = [f"ENV RUSTC_WRAPPER=sccache SCCACHE_DIR={_sccache_folder(settings)}"]
    return [*lines, *(f"ARG {name}" for name in _STORES[store].arguments)]


def _remarks(project: Project, choices: Choices, settings: Settings, runtime: Runtime) -> Sequence[str]:
    remarks = []
    # An image that the user named is not of this name.
    if not settings.image.registry and choices.builder.startswith(f"{settings.image.name}:"):
        remarks.append(
            f"`image.registry` is empty, so every other machine, CI's too, looks for {choices.builder} on Docker Hub: "
            "set it (docker.io for Docker Hub), or name an image by --image"
        )
    pin = project.workspace.toolchain_pin
    if pin is not None:
        remarks.append(f"rust-toolchain names {pin}: the Dockerfile builds with the image's {settings.toolchain}")
    if project.checked_queries and not project.saved_queries:
        remarks.append("sqlx looks at its queries while compiling: run `cargo sqlx prepare` and commit .sqlx")
    if len(project.targets) > 1:
        remarks.append("build.target lists several targets: correct the paths of COPY --from=builder")
    if len(project.programs) > 1 and choices.program is None:
        entry = _entry(project, choices)
        remarks.append(f"it makes {', '.join(project.programs)}: the image runs {entry}; --bin picks another")
    if choices.compiler_cache is not CompilerCache.LOCAL and choices.flavour is Flavour.CHEF_SCCACHE:
        names = (*_STORES[choices.compiler_cache].arguments, *_STORES[choices.compiler_cache].secrets)
        remarks.append(f"sccache takes {', '.join(names)}: docker build --build-arg, and --secret for credentials")
    if runtime is Runtime.DISTROLESS:
        remarks.append("the runtime image has no shell: --runtime slim for one that has")
    return remarks


def _render(template: str, values: Mapping[str, object]) -> str:
    text = render(f"consumer/{template}", values)
    # A part that is left out leaves its blank lines behind.
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text
