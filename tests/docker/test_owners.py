"""Whoever builds on an image finds its units fresh, can add to them, and takes nobody else's place.

One tiny image, cooked by the whole line, for all tests; the same with group 0 for clusters that choose the uid.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cargo.variants import Variant
from factory.engine import Engine, certificates
from factory.files import write_text
from factory.output import Output
from factory.proof.image import verify_image
from factory.proof.model import ProofRequest
from factory.scan.model import Scan
from tests.hostile import write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
NAME = "rust-warm-factory/owners-test"
SHARE = "/usr/local/share/rust-warm-factory"
WARM = ("cfg-if", "itoa", "libc")
MANIFEST = (
    '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n\n'
    '[dependencies]\ncfg-if = "=1.0.4"\nitoa = "=1.0.17"\nlibc = "=0.2.178"\n'
)
MAIN = 'fn main() { println!("hello {}", itoa::Buffer::new().format(unsafe { libc::getuid() })); }\n'
COLD = 'scopeguard = "=1.2.0"\n'
OTHER_COLD = 'fnv = "=1.0.7"\n'
BUILD = "cargo build --release --message-format=json"
REQUEST = ProofRequest(variant=Variant.parse("release"), skeleton=False, cold=False, timeout=300)
NO_REPOS = Scan(workspaces=(), skipped=())


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images `:core` with group 1001 and with group 0, and the consumer's sources."""

    plain: str
    gid_0: str
    consumer: Path


@pytest.fixture(scope="module")
def images(base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Take the consumer through analyze, plan and build, once for each group."""
    folder = tmp_path_factory.mktemp("owners")
    consumer = write_files(folder / "consumer", {"Cargo.toml": MANIFEST, "src/main.rs": MAIN})
    process.run(["cargo", "generate-lockfile"], cwd=consumer)
    environment = dict(docker_env) | {
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_BASE_IMAGE": base_image,
        "FACTORY_IMAGE_NAME": NAME,
        "FACTORY_IMAGE_SOURCE": "https://example.com/images",
        "FACTORY_IMAGE_REVISION": "0123abc",
        "PYTHONPATH": str(ROOT),
    }
    for args in (("analyze", str(consumer)), ("plan",), ("build",)):
        factory(*args, folder=folder, environment=environment)
    variables = {"FACTORY_USER_GID": "0", "FACTORY_IMAGE_NAME": f"{NAME}-gid0"}
    factory("build", folder=folder, environment=environment | variables)
    return Images(plain=f"{NAME}:core", gid_0=f"{NAME}-gid0:core", consumer=consumer)


def factory(*args: str, folder: Path, environment: Mapping[str, str]) -> None:
    process.run([sys.executable, "-m", "factory", *args], cwd=folder, env=environment, timeout=1500)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A running container with the consumer's sources, read-only, in /src, and room in /work."""

    identity: str

    def sh(self, script: str, *, user: str | None = None, by: Sequence[str] = ("bash", "-euc")) -> str:
        """Run a script as `user`, by default the container's own; return what it wrote to stdout."""
        chosen = () if user is None else (f"--user={user}",)
        return process.run(["docker", "exec", *chosen, self.identity, *by, script], timeout=300).stdout

    def build(self, folder: str, *, user: str | None = None, args: str = "", home: str = "") -> dict[str, bool]:
        """Build the package in a folder; return of each package of a registry whether it was fresh."""
        variable = f"export HOME={home}; " if home else ""
        return freshness(self.sh(f"{variable}cd {folder} && {BUILD} {args}", user=user))


@contextlib.contextmanager
def box(image: str, consumer: Path, *options: str, network: str = "host") -> Iterator[Box]:
    """Yield a container of an image, started by way of its entry point."""
    trusted = certificates()
    trust = () if trusted is None else (f"--volume={trusted}:/run/ca.pem:ro", "--env=CARGO_HTTP_CAINFO=/run/ca.pem")
    mounts = (f"--volume={consumer}:/src:ro", "--tmpfs=/work:mode=1777,exec")
    command = ["docker", "run", "--detach", "--init", f"--network={network}", *mounts, *trust, *options, image]
    identity = process.run([*command, "sleep", "3600"], timeout=120).stdout.strip()
    try:
        yield Box(identity=identity)
    finally:
        process.run(["docker", "rm", "--force", identity], timeout=60)


def freshness(messages: str) -> dict[str, bool]:
    """Whether each registry package of a build was fresh with all of its units."""
    found: dict[str, bool] = {}
    for line in messages.splitlines():
        message: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        if message.get("reason") == "compiler-artifact" and message["package_id"].startswith("registry+"):
            name = message["package_id"].partition("#")[2].partition("@")[0]
            found[name] = found.get(name, True) and message["fresh"]
    return found


HITS = dict.fromkeys(WARM, True)

USERS = {
    "root": ("--user=0:0",),
    "the runner": (),
    "1000 in the group": ("--user=1000:1001",),
    "1000 with the group beside its own": ("--user=1000:1000", "--group-add=1001"),
    "an arbitrary uid in the group": ("--user=1000680000:1001",),
    "another HOME": ("--env=HOME=/github/home", "--tmpfs=/github/home:mode=1777"),
    "a HOME that is not there": ("--user=4242:1001", "--env=HOME=/nonexistent"),
}
"""The options of `docker run` for each who builds."""

COPY = "rm -rf /work/{0} && cp -R /src /work/{0} && chmod -R u+w /work/{0}"


@pytest.mark.parametrize("options", USERS.values(), ids=USERS)
def test_everybody_builds_keeps_the_hits_and_adds_a_crate_and_the_next_one_too(
    images: Images, options: tuple[str, ...]
) -> None:
    with box(images.plain, images.consumer, *options) as first:
        first.sh(COPY.format("one"))
        assert first.build("/work/one", args="--locked --offline") == HITS
        first.sh(f"printf '{COLD}' >>/work/one/Cargo.toml")
        assert first.build("/work/one") == HITS | {"scopeguard": False}
        # The next one, over the files of the first: what is there is fresh, what changed is replaced, and more comes.
        first.sh(COPY.format("two") + f"; printf '{COLD}{OTHER_COLD}' >>/work/two/Cargo.toml", user="3003:1001")
        first.sh("echo '// changed' >>/work/two/src/main.rs", user="3003:1001")
        assert first.build("/work/two", user="3003:1001") == HITS | {"scopeguard": True, "fnv": False}
        assert first.sh("/work/two/target/release/app", user="3003:1001") == "hello 3003\n"


def test_whoever_is_in_group_0_builds_on_the_variant_for_it(images: Images) -> None:
    with box(images.gid_0, images.consumer, "--user=1000680000:0") as first:
        first.sh(COPY.format("one"))
        assert first.build("/work/one", args="--locked --offline") == HITS
        first.sh(COPY.format("two") + f"; printf '{COLD}' >>/work/two/Cargo.toml", user="1000700000:0")
        assert first.build("/work/two", user="1000700000:0") == HITS | {"scopeguard": False}
    proof = verify_image(images.gid_0, NO_REPOS, REQUEST, engine=Engine(), output=Output(verbosity=-1))
    assert {check.name: check.findings for check in proof.checks if not check.ok} == {}
    assert any("belong to 1001:0, group-writable" in check.detail for check in proof.checks)


def test_sources_may_be_mounted_read_only_and_nothing_needs_a_network(images: Images) -> None:
    with box(images.plain, images.consumer, network="none") as offline:
        assert offline.build("/src", args="--locked --offline --target-dir=/work/target") == HITS
        assert offline.build("/src", args="--locked --target-dir=/work/target") == HITS
        assert offline.sh("/work/target/release/app") == "hello 1001\n"


THREE_LINES = "FROM {image}\nCOPY . .\nRUN cargo build --release --locked 2>&1 | tee built.txt\n"
"""The README's Dockerfile, with what cargo says kept in the image."""


@pytest.mark.parametrize("group", ["plain", "gid_0"])
def test_three_lines_are_a_dockerfile(images: Images, tmp_path: Path, group: str) -> None:
    image: str = getattr(images, group)
    context = shutil.copytree(images.consumer, tmp_path / "context")
    write_text(context / "Dockerfile", THREE_LINES.format(image=image))
    tag = f"{NAME}:three-lines"
    process.run(["docker", "build", "--network=none", "-q", "-t", tag, str(context)], timeout=300)
    run = ["docker", "run", "--rm", "--network=none", tag]
    try:
        assert re.findall(r"^ +Compiling (\S+)", process.run([*run, "cat", "built.txt"]).stdout, re.MULTILINE) == [
            "app"
        ]
        assert process.run([*run, "target/release/app"]).stdout == "hello 1001\n"
    finally:
        process.run(["docker", "rmi", "-f", tag], check=False, timeout=60)


def test_a_uid_without_the_group_is_told_what_to_do(images: Images) -> None:
    with box(images.plain, images.consumer, "--user=1000:1000") as stranger:
        answer = process.run(["docker", "exec", stranger.identity, "warm-doctor", "/src"], check=False)
    assert answer.returncode == 1
    assert answer.stdout.count("BROKEN owner: ") == 2
    assert "docker run --group-add 1001" in answer.stdout


def test_files_are_open_to_the_group_by_every_way_in(images: Images) -> None:
    umask = ["docker", "run", "--rm", "--network=none", images.plain, "sh", "-c", "umask"]
    assert process.run(umask).stdout == "0002\n"
    with box(images.plain, images.consumer, network="none") as running:
        assert running.sh("umask") == "0002\n"
        assert running.sh("umask", by=("bash", "-lc")) == "0002\n"
        assert running.sh("umask", by=("sh", "-lc")) == "0002\n"
        # A umask that somebody chose stays.
        assert running.sh("umask 077; bash -c umask") == "0077\n"
    with derived(images.plain, "RUN umask >$HOME/umask", 'SHELL ["/bin/bash", "-c"]', "RUN umask >>$HOME/umask") as tag:
        assert (
            process.run(["docker", "run", "--rm", "--network=none", tag, "cat", "/home/runner/umask"]).stdout
            == "0002\n" * 2
        )


def test_a_user_without_a_home_gets_one(images: Images) -> None:
    home = ["docker", "run", "--rm", "--network=none", "--user=4242:1001", images.plain]
    assert process.run([*home, "sh", "-c", 'echo "$HOME"; : >"$HOME/x"']).stdout == "/tmp/home-4242\n"  # noqa: S108 - in the container
    kept = ["docker", "run", "--rm", "--network=none", images.plain, "sh", "-c", 'echo "$HOME"']
    assert process.run(kept).stdout == "/home/runner\n"


# What the image says of itself


def test_the_contract_stands_in_a_file_and_not_in_variables(images: Images) -> None:
    facts = Engine().image(images.plain)
    names = sorted(name for name in facts.environment if name.startswith(("CARGO", "RUST")))
    assert names == ["CARGO_HOME", "RUSTUP_HOME"]
    with box(images.plain, images.consumer, network="none") as running:
        config = running.sh("cat /usr/local/cargo/config.toml")
    assert 'build-dir = "/usr/local/cargo-build"' in config
    assert 'auto-clean-frequency = "never"' in config


def test_labels_say_what_it_was_made_from(images: Images, base_image: str) -> None:
    labels = Engine().image(images.plain).labels
    opencontainers = {name.rpartition(".")[2]: value for name, value in labels.items() if name.startswith("org.")}
    assert opencontainers["source"] == "https://example.com/images"
    assert opencontainers["revision"] == "0123abc"
    assert opencontainers["created"] == "1980-01-01T00:00:00Z"
    assert labels["org.opencontainers.image.base.name"] == base_image
    assert labels["org.opencontainers.image.base.digest"] == Engine().image(base_image).digest != ""
    assert labels["io.rust-warm-factory.plan"].startswith(opencontainers["version"])
    assert labels["io.rust-warm-factory.owner"] == "1001:1001"


def test_contents_name_every_unit_with_its_reason(images: Images) -> None:
    with box(images.plain, images.consumer, network="none") as running:
        contents = json.loads(running.sh(f"cat {SHARE}/core/contents.json"))
    assert {unit["crate"] for unit in contents["units"]} == set(WARM)
    assert all(unit["why"] and unit["cargo_profiles"] == ["release"] for unit in contents["units"])


# The doctor


def test_the_doctor_in_the_image_finds_a_sound_project_sound_and_counts_its_hits(images: Images) -> None:
    with box(images.plain, images.consumer, network="none") as running:
        sound = json.loads(running.sh("warm-doctor --json /src"))
        running.sh(COPY.format("one"))
        counted = json.loads(
            running.sh(f"cd /work/one && {BUILD} --offline | warm-doctor --after-build --json --min-hit 100 -")
        )
    assert sound["ok"], sound
    assert sound["lock"] == {"warm": 3, "at_another_version": 0, "not_warm": 0, "from_git": 0}
    # The libraries, and the build script of libc; its run is not told by cargo.
    assert (counted["fresh"], counted["total"], counted["misses"]) == (4, 4, [])


def test_what_the_doctor_calls_broken_is_not_fresh(images: Images) -> None:
    """The same change, seen by the doctor before and by cargo after."""
    changes = {
        "rustflags": "mkdir .cargo && printf '[build]\\nrustflags = [\"-Copt-level=2\"]\\n' >.cargo/config.toml",
        "cargo-profile": "printf '\\n[profile.release]\\nlto = true\\n' >>Cargo.toml",
        "linker": "mkdir .cargo && printf \"[target.'cfg(unix)']\\nlinker = 'cc'\\n\" >.cargo/config.toml",
        "target": "mkdir .cargo && printf '[build]\\ntarget = \"x86_64-unknown-linux-gnu\"\\n' >.cargo/config.toml",
        "build-dir": "mkdir .cargo && printf '[build]\\nbuild-dir = \"target\"\\n' >.cargo/config.toml",
    }
    with box(images.plain, images.consumer, network="none") as running:
        for clause, change in changes.items():
            running.sh(COPY.format("mine") + f"; cd /work/mine; {change}")
            found = json.loads(running.sh("warm-doctor --json /work/mine || true"))
            assert {row["clause"] for row in found["findings"] if row["broken"]} == {clause}
            fresh = running.build("/work/mine", args="--offline")
            assert not any(fresh.values()), (clause, fresh)


# Verified, with what stands on it


@contextlib.contextmanager
def derived(image: str, *instructions: str, files: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the tag of an image that stands on `image`."""
    tag = f"{NAME}:derived"
    heredocs = [f"COPY <<'EOT' {path}\n{text}EOT" for path, text in (files or {}).items()]
    lines = "\n".join((f"FROM {image}", *heredocs, *instructions, ""))
    process.run(["docker", "build", "--network=none", "-q", "-t", tag, "-"], stdin=lines, timeout=300)
    try:
        yield tag
    finally:
        process.run(["docker", "rmi", "-f", tag], check=False, timeout=60)


def broken_checks(image: str) -> dict[str, tuple[str, ...]]:
    proof = verify_image(image, NO_REPOS, REQUEST, engine=Engine(), output=Output(verbosity=-1))
    return {check.name: check.findings for check in proof.checks if not check.ok}


def test_owners_and_modes_cost_nothing(images: Images) -> None:
    for layer in ("core", "db"):
        proof = verify_image(f"{NAME}:{layer}", NO_REPOS, REQUEST, engine=Engine(), output=Output(verbosity=-1))
        assert {check.name: check.findings for check in proof.checks if not check.ok} == {}
        details = {check.name: check.detail for check in proof.checks}
        assert details["no copies"] == "owners and modes cost 0 bytes: no layer repeats a warm file of a lower one"
    assert images.plain


def test_a_later_chown_is_refused_with_what_it_costs(images: Images) -> None:
    with derived(images.plain, "USER 0", "RUN chown -R 1001:0 /usr/local/cargo-build") as tag:
        found = broken_checks(tag)
    assert set(found) == {"owners and modes", "no copies"}
    assert any(".rlib: " in row and " bytes again in layer " in row for row in found["no copies"])


def test_an_image_that_stands_on_ours_and_runs_as_somebody_else_is_sound(images: Images) -> None:
    warm = "RUN cd /app && cargo fetch --offline && rm -rf /usr/local/cargo/registry/src /usr/local/cargo/.global-cache"
    files = {"/app/Cargo.toml": MANIFEST, "/app/src/main.rs": MAIN}
    files["/app/Cargo.lock"] = (images.consumer / "Cargo.lock").read_text(encoding="utf-8")
    with derived(images.plain, "USER 0", "RUN touch /etc/theirs", warm, "USER 4242:1001", files=files) as tag:
        assert broken_checks(tag) == {}


# No wrong binary

OLD = "1970-01-02"


def package(folder: str, name: str, version: str, says: str) -> dict[str, str]:
    """A package that prints a word."""
    manifest = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n'
    return {f"{folder}/Cargo.toml": manifest, f"{folder}/src/main.rs": f'fn main() {{ println!("{says}"); }}\n'}


def test_older_sources_under_the_name_and_version_of_a_cooked_package_are_compiled(
    images: Images, tmp_path: Path
) -> None:
    """The hazard: cargo takes what is in the build directory for the package when its sources are older."""
    recipe = recipe_name(images)
    for name, version in (("itoa", "1.0.17"), ("cfg-if", "1.0.4"), (recipe, "0.0.0")):
        sources = write_files(tmp_path / name, package("mine", name, version, "mine"))
        process.run(["chmod", "-R", "a+rX", sources])
        with box(images.plain, sources, network="none") as running:
            running.sh(f"cp -R /src/mine /work/mine && find /work/mine -exec touch -d {OLD} {{}} +")
            assert running.sh(f"cd /work/mine && cargo run --release --quiet --bin {name}") == "mine\n"


def recipe_name(images: Images) -> str:
    """A name that a package had while the image was cooked."""
    script = f'sed -n \'s/.*"factory-recipe","name":"\\([^"]*\\)".*/\\1/p\' {SHARE}/core/cook.jsonl'
    with box(images.plain, images.consumer, network="none") as running:
        return running.sh(script).splitlines()[0]


def test_a_unit_of_a_path_package_is_refused_since_cargo_would_hand_it_out(images: Images, tmp_path: Path) -> None:
    theirs = package("/theirs", "app", "0.1.0", "theirs")
    mine = write_files(tmp_path / "consumer", package("mine", "app", "0.1.0", "mine"))
    process.run(["chmod", "-R", "a+rX", mine])
    build = "RUN cp -R /theirs /tmp/theirs && cd /tmp/theirs && cargo build --release --quiet && rm -rf /tmp/theirs"
    old = f"cp -R /src/mine /work/mine && find /work/mine -exec touch -d {OLD} {{}} +"
    run = f"{old} && cd /work/mine && cargo run --release --quiet"
    with derived(images.plain, build, files=theirs) as tag:
        found = broken_checks(tag)
        assert "no path units" in found
        assert any("app-" in row for row in found["no path units"])
        # What it is refused for: cargo runs the binary of the package that was there first.
        with box(tag, mine, network="none") as wrong:
            assert wrong.sh(run) == "theirs\n"
    with box(images.plain, mine, network="none") as right:
        assert right.sh(run) == "mine\n"
