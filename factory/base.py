"""Base images, made where none can be pulled."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from factory import process
from factory.errors import BuildFailedError, ConfigurationError, EnvironmentFaultError
from factory.files import cache_directory, digest
from factory.labels import Label
from factory.platforms import Platform, machine_platform
from factory.publish.distribution import parse_reference
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.engine import Engine
    from factory.output import Output

HOME_MADE = "rust-warm-factory/"
"""How names begin that are of no registry."""

PACKAGES = ("gcc", "g++", "make", "libc6-dev", "pkg-config", "libssl-dev", "ca-certificates", "git")
"""What the crates of ordinary projects need besides Rust."""

TOOLCHAIN_PACKAGES = ("rustc", "cargo")

TARGET_PACKAGES = dict.fromkeys(
    ("wasm32-unknown-unknown", "wasm32-wasip1", "wasm32-wasip2"), ("libstd-rust-dev-wasm32", "rust-llvm")
)
"""The standard library and the linker of other targets for Debian's rustc; there are none for any that is not here."""

C_PACKAGES = {"x86_64-unknown-linux-musl": ("musl-tools",), "aarch64-unknown-linux-musl": ("musl-tools",)}
"""The C compilers of other targets, which build scripts call."""

ROLLING_SUITES = frozenset({"sid", "unstable"})

MIRROR_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
APT_SETTINGS_FILE = "00machine"

BOOTSTRAP_SECONDS = 3600.0
BUILD_SECONDS = 1800.0
INSPECT_SECONDS = 120.0


def is_home_made(reference: str, engine: Engine) -> bool:
    """Whether `factory base` made the engine's image of that name, under it: its registry may not have it."""
    if reference.startswith(HOME_MADE):
        return True
    try:
        made_as = engine.image(reference).labels.get(Label.HOME_MADE, "")
    except ConfigurationError:
        return False
    # Whatever stands on it has the label too.
    return bool(made_as) and parse_reference(made_as) == parse_reference(reference)


def build_base(
    *,
    tag: str,
    suite: str,
    toolchain: Path | Literal["debian"],
    ca_bundle: Path | None,
    output: Output,
    targets: Sequence[str] = (),
    more_packages: Iterable[str] = (),
    platform: Platform | None = None,
) -> str:
    """Make an image like the official `rust:<version>-slim-<suite>` from Debian packages; return its ID.

    `toolchain` is a sysroot (what `rustc --print sysroot` prints), or "debian" for the suite's own compiler.
    `targets` are the triples that it can compile for beside its own: a sysroot must have their standard libraries.
    `more_packages` are Debian packages to install besides what ordinary projects need. `platform` is another one than
    this machine's; its programs run here while the image is made, so an emulator must be registered.
    `ca_bundle` takes the place of the image's certificate bundle. The packages come from the mirror that this
    machine's apt uses and are kept in the cache for the next time. On failure `tag` stays what it was.

    Raises `ConfigurationError` for a suite, toolchain or bundle that cannot be used, `EnvironmentFaultError`
    where mmdebstrap, apt or docker is missing, `BuildFailedError` when a step fails.
    """
    _check_suite(suite)
    chosen = _base_platform(platform)
    if toolchain != "debian":
        _check_sysroot(toolchain, targets)
        _check_own_platform(toolchain, chosen)
    packages = tuple(dict.fromkeys((*_packages(toolchain, targets, chosen), *sorted(more_packages))))
    _check_packages(packages)
    root = _root_directory(suite, packages, chosen, output)
    with tempfile.TemporaryDirectory(prefix="factory-base-") as scratch:
        contexts = {"certificates": _certificates(ca_bundle, Path(scratch))}
        if toolchain != "debian":
            contexts["toolchain"] = toolchain
        kind = "debian" if toolchain == "debian" else "local"
        _build(tag, kind=kind, platform=chosen, root=root, contexts=contexts, output=output)
    return _image_id(tag)


def _check_suite(suite: str) -> None:
    if re.fullmatch(r"[a-z][a-z0-9-]*", suite) is None:
        what = f"{suite!r}: not the name of a Debian suite"
        raise ConfigurationError(what, advice="Name one such as bookworm, trixie or sid.")


def _base_platform(platform: Platform | None) -> Platform:
    chosen = platform or machine_platform()
    if chosen is None:
        what = f"images are made for {', '.join(Platform)}, and this machine is none of them"
        raise EnvironmentFaultError(what, advice="Make the base image on a machine of one of these.")
    return chosen


def _check_own_platform(sysroot: Path, platform: Platform) -> None:
    if platform is not machine_platform():
        what = f"{sysroot}: this machine's toolchain does not run on {platform}"
        raise ConfigurationError(what, advice="Take the suite's own compiler: --debian-rust.")


def _packages(toolchain: Path | Literal["debian"], targets: Sequence[str], platform: Platform) -> tuple[str, ...]:
    """Return the Debian packages of a base image, each once."""
    wanted = (*PACKAGES, *(package for target in targets for package in C_PACKAGES.get(target, ())))
    if toolchain != "debian":
        return tuple(dict.fromkeys(wanted))
    others = [target for target in targets if target != platform.rust_target]
    lacking = sorted(set(others) - TARGET_PACKAGES.keys())
    if lacking:
        what = f"Debian packages no standard library of Rust for {', '.join(lacking)}"
        known = ", ".join(TARGET_PACKAGES)
        raise ConfigurationError(what, advice=f"Take a toolchain that rustup installed; Debian has {known}.")
    standard = (package for target in others for package in TARGET_PACKAGES[target])
    return tuple(dict.fromkeys((*wanted, *TOOLCHAIN_PACKAGES, *standard)))


def _check_packages(packages: Iterable[str]) -> None:
    for package in packages:
        if re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package) is None:
            what = f"{package!r}: not the name of a Debian package"
            raise ConfigurationError(what, advice="Name one such as libpq-dev, without a version.")


def _check_sysroot(sysroot: Path, targets: Sequence[str]) -> None:
    if sysroot.resolve() == Path("/usr"):
        what = f"{sysroot}: this toolchain is the system's own, and cannot be copied alone"
        advice = 'Choose the toolchain "debian", or the sysroot of a toolchain that rustup installed.'
        raise ConfigurationError(what, advice=advice)
    for part in ("bin/cargo", "bin/rustc", "lib/rustlib"):
        if not (sysroot / part).exists():
            what = f"{sysroot}: not a Rust toolchain, it has no {part}"
            raise ConfigurationError(what, advice="Give the directory that `rustc --print sysroot` prints.")
    lacking = [name for name in targets if not any((sysroot / "lib/rustlib" / name / "lib").glob("libcore-*.rlib"))]
    if lacking:
        what = f"{sysroot}: this toolchain has no standard library for {', '.join(lacking)}"
        raise ConfigurationError(what, advice=f"Run `rustup target add {' '.join(lacking)}`.")


def _root_directory(suite: str, packages: tuple[str, ...], platform: Platform, output: Output) -> Path:
    """Return a directory that holds nothing but `root.tar`, the suite with `packages` installed."""
    folder = cache_directory() / "base" / f"{suite}-{platform.architecture}-{digest(packages)[:12]}"
    archive = folder / "root.tar"
    if archive.exists():
        output.detail(f"{archive} is there already")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".root-") as scratch:
        partial = Path(scratch) / "root.tar"
        output.say(f"base: installing Debian {suite} for {platform.architecture} into {archive}")
        _bootstrap(suite, packages, platform, partial, output)
        folder.mkdir(exist_ok=True)
        partial.replace(archive)
    return folder


def _bootstrap(suite: str, packages: tuple[str, ...], platform: Platform, archive: Path, output: Output) -> None:
    mmdebstrap = process.which("mmdebstrap", advice="Install it: `apt-get install mmdebstrap`.")
    settings = archive.with_name(APT_SETTINGS_FILE)
    settings.write_text(apt_settings(), encoding="utf-8")
    command = (
        str(mmdebstrap),
        "--variant=minbase",
        f"--architectures={platform.architecture}",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man")),
        # By hooks, because what --aptopt sets would stay in the image.
        f"--setup-hook=copy-in {shlex.quote(str(settings))} /etc/apt/apt.conf.d",
        f'--customize-hook=rm "$1/etc/apt/apt.conf.d/{APT_SETTINGS_FILE}"',
        *(suite, str(archive), "-"),
    )
    sources = apt_sources(suite)
    completed = process.run(command, stdin=sources, timeout=BOOTSTRAP_SECONDS, check=False, on_stderr=output.detail)
    if not completed.ok:
        advice = "See whether `apt-get update` works here, and whether its mirror has the suite."
        if platform is not machine_platform():
            advice += f" For {platform}, qemu-user-static and arch-test must be installed: docs/platforms.md."
        raise _step_failed(completed, advice=advice)


def apt_settings() -> str:
    """Return this machine's own settings for reaching its mirror: proxies, certificates, dates; "" without apt."""
    if shutil.which("apt-config") is None:
        return ""
    return process.run(("apt-config", "dump", *MIRROR_SETTINGS), timeout=INSPECT_SECONDS).stdout


def apt_sources(suite: str) -> str:
    """Return apt sources for `suite`: this machine's own, with the name of its release exchanged.

    Raises `EnvironmentFaultError` where this machine is no Debian, or its apt has no sources.
    """
    release = _codename()
    query = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
    lines = set()
    for line in process.run(query, timeout=INSPECT_SECONDS).stdout.splitlines():
        uri, _, pocket = line.partition(" ")
        if pocket == release or (pocket.startswith(f"{release}-") and suite not in ROLLING_SUITES):
            lines.add(f"deb {uri} {suite}{pocket.removeprefix(release)} main\n")
    if not lines:
        what = f"apt on this machine has no source for {release}, so there is no mirror to take {suite} from"
        advice = "Add Debian's archive to /etc/apt/sources.list.d/debian.sources."
        raise EnvironmentFaultError(what, advice=advice)
    return "".join(sorted(lines))


def _codename() -> str:
    """Return the release that apt's sources name; on another system than Debian nothing here can work."""
    system = Path("/etc/os-release").read_text("utf-8")
    found = re.search(r"^VERSION_CODENAME=(\S+)$", system, re.MULTILINE)
    if found is None or re.search(r"^ID=debian$", system, re.MULTILINE) is None:
        raise EnvironmentFaultError(
            "/etc/os-release: not a release of Debian, whose packages a base image is made from",
            advice="Make the base image on a machine that runs Debian.",
        )
    return found[1]


def _certificates(bundle: Path | None, folder: Path) -> Path:
    """Fill the build context with the bundle, under the name it will have in the image; empty without one."""
    if bundle is None:
        return folder
    try:
        content = bundle.read_bytes()
    except OSError as error:
        what = f"{bundle}: {error.strerror}"
        raise ConfigurationError(what, advice="Name a readable file of PEM certificates.") from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        what = f"{bundle}: holds no certificate"
        raise ConfigurationError(what, advice="Name a file of PEM certificates.")
    (folder / "ca-certificates.crt").write_bytes(content)
    return folder


def _build(
    tag: str, *, kind: str, platform: Platform, root: Path, contexts: Mapping[str, Path], output: Output
) -> None:
    command = (
        *("docker", "buildx", "build", "--progress=plain", "--provenance=false", "--load"),
        f"--platform={platform}",
        *(f"--build-context={name}={path}" for name, path in sorted(contexts.items())),
        *(
            f"--file={shipped('Dockerfiles') / 'base.Dockerfile'}",
            f"--build-arg=TOOLCHAIN={kind}",
            f"--label={Label.HOME_MADE}={tag}",
            f"--tag={tag}",
            str(root),
        ),
    )
    completed = process.run(command, timeout=BUILD_SECONDS, check=False, on_stderr=output.detail)
    if not completed.ok:
        raise _step_failed(
            completed,
            advice="Docker 23 or newer with buildx is needed; docs/air-gapped.md has a private one.",
        )


def _image_id(tag: str) -> str:
    # buildx's --iidfile names the configuration, which an engine with the containerd store does not find.
    inspect = ("docker", "image", "inspect", "--format", "{{.Id}}", tag)
    return process.run(inspect, timeout=INSPECT_SECONDS).stdout.strip()


def _step_failed(completed: process.Completed, *, advice: str) -> BuildFailedError:
    tail = "\n".join(completed.stderr.strip().splitlines()[-20:])
    return BuildFailedError(f"`{completed.command}` exited with {completed.returncode}\n{tail}", advice=advice)
