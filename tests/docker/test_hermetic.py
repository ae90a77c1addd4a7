"""Images of private sources: who compiled, with what at hand, and that no secret is left in anything that is built."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from factory import process
from factory.cook.fetch_secrets import VARIABLES
from factory.engine import Engine
from factory.resources import shipped
from tests.docker.private_line import IMAGE, PrivateLine, entries, leaks
from tests.private_sources import GIT_TOKEN, REGISTRY_TOKEN, WITNESS

if TYPE_CHECKING:
    from collections.abc import Iterator


def descriptions() -> Iterator[tuple[str, bytes]]:
    """Yield what the engine says of the image: configuration, labels and history."""
    for words in (["image", "inspect", IMAGE], ["history", "--no-trunc", "--format=json", IMAGE]):
        yield words[0], process.run(["docker", *words], timeout=60).stdout.encode()


def layers(saved: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file of every layer of a saved image, also of those that a later layer covers, and every manifest."""
    with tarfile.open(saved) as image:
        for blob in filter(tarfile.TarInfo.isfile, image):
            content = image.extractfile(blob)
            assert content is not None
            try:
                layer = tarfile.open(fileobj=content)  # noqa: SIM115 - closed below
            except tarfile.ReadError:
                content.seek(0)
                yield blob.name, content.read()
                continue
            with layer:
                yield from entries(layer)


def test_everything_but_what_wants_the_network_is_in_the_image(private_line: PrivateLine) -> None:
    (core,) = private_line.built["layers"]
    assert {row["unit"] for row in core["dropped"]} == {
        "inner-above@1.0.0 (lib)",
        "inner-caller@1.0.0 (build script run)",
        "inner-caller@1.0.0 (lib)",
    }
    assert any("no network" in row["reason"] for row in core["dropped"])
    assert private_line.sources.git.refused  # it was locked, and yet the crate is there
    with Engine().container(IMAGE, mounts={}) as container:
        contents = json.loads(container.run(["cat", "/usr/local/share/rust-warm-factory/core/contents.json"]).stdout)
    crates = {unit["crate"] for unit in contents["units"]}
    assert crates == {"git-part", "git-tool", "inner-caller", "inner-leaf", "inner-witness", "open-leaf"}


def test_a_consumer_without_token_mirror_and_network_builds_warm(private_line: PrivateLine) -> None:
    """Its lock names two crates that no recipe does: of those, the image has the entries of the index alone."""
    run = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        f"--volume={private_line.sources.repos / 'app'}:/app:ro",
        "--workdir=/app",
    ]
    build = "cargo build --release --locked -v --target-dir /tmp/target && /tmp/target/release/app"
    built = process.run([*run, IMAGE, "sh", "-c", build], check=False, timeout=300)
    assert built.ok, built.stderr
    fresh = set(re.findall(r"Fresh (\S+) v", built.stderr))
    assert fresh == {"git-part", "git-tool", "inner-leaf", "inner-witness", "open-leaf"}
    assert re.findall(r"Compiling (\S+) v", built.stderr) == ["app"]
    assert built.stdout == "15\n"
    locked = (private_line.sources.repos / "app" / "Cargo.lock").read_text(encoding="utf-8")
    with Engine().container(IMAGE, mounts={}) as container:
        downloaded = container.run(["find", "/usr/local/cargo/registry/cache", "-type", "f"]).stdout
    for crate in ("open-tester", "inner-window"):
        assert f'name = "{crate}"' in locked
        assert crate not in downloaded


def test_an_image_of_private_sources_is_the_same_when_it_is_built_again(private_line: PrivateLine) -> None:
    again = private_line.factory("verify", IMAGE, "--reproducible", "--json")
    (check,) = [row for row in json.loads(again.stdout)["checks"] if row["name"] == "reproducible"]
    assert check["ok"], check
    assert again.returncode == 0, again.stderr


def test_verify_accepts_units_of_git_and_of_a_private_registry(private_line: PrivateLine) -> None:
    answer = private_line.factory(
        "verify", IMAGE, "--repo", str(private_line.sources.repos / "app"), "--min-hit", "1", "--json"
    )
    proof = json.loads(answer.stdout)
    assert [check for check in proof["checks"] if not check["ok"]] == []
    (row,) = proof["repos"]
    assert row["units"] == {"total": 5, "fresh": 5}
    assert row["git_units"] == {"total": 4, "fresh": 4}


def test_the_runner_compiles_without_secrets(private_line: PrivateLine) -> None:
    assert private_line.built
    with Engine().container(IMAGE, mounts={}) as container:
        (path,) = container.run(["find", "/usr/local/cargo-build", "-name", WITNESS]).stdout.split()
        seen = container.run(["cat", path]).stdout
    paths = re.findall(r"^path (.+)$", seen, re.MULTILINE)
    assert seen.startswith("uid 1001\n")
    assert "env CARGO_PKG_NAME=inner-witness\n" in seen
    assert "_TOKEN=" not in seen
    there = [path for path in paths if path.startswith("/run/")]
    assert sorted(there) == [f"/run/factory/{name}" for name in ("cook.sh", "prune.sh", "recipes", "settle.sh")]
    assert not any("tokens" in path or "config" in path for path in paths)


def test_no_planted_token_is_in_any_layer_or_description(private_line: PrivateLine, tmp_path: Path) -> None:
    assert private_line.built
    saved = tmp_path / "image.tar"
    process.run(["docker", "save", "--output", saved, IMAGE], timeout=600)
    names = set()
    places = []
    for place, text in layers(saved):
        names.add(Path(place).name)
        places += leaks([(place, text)])
    assert places == []
    # What was compiled with the tokens is there, so this looks into the right archive.
    assert {"inner-witness-1.0.0.crate", WITNESS, "config.toml"} <= names
    assert leaks(descriptions()) == []


def test_no_planted_token_is_in_what_a_build_writes_or_says(private_line: PrivateLine) -> None:
    assert leaks([("log", private_line.log.encode())]) == []
    written = [path for path in (private_line.folder / "cache").rglob("*") if path.is_file() and not path.is_symlink()]
    written += [private_line.folder / "analysis.json", private_line.folder / "plan.json"]
    assert any(path.name == "docker-bake.json" for path in written)
    assert leaks((str(path), path.read_bytes()) for path in written) == []


def test_no_planted_token_is_in_the_fullest_provenance(private_line: PrivateLine, tmp_path: Path) -> None:
    """`factory build` asks for none; whoever does, must not publish a token."""
    shown = json.loads(private_line.bake_file.read_text(encoding="utf-8"))["target"]["core-report"]
    ids = [dict(field.split("=", 1) for field in secret.split(","))["id"] for secret in shown["secret"]]
    assert {"fetch-settings", "fetch-tokens", "fetch-git"} <= set(ids)
    command = [*private_line.command("core-report"), f"--metadata-file={tmp_path / 'metadata.json'}"]
    variables = dict.fromkeys(VARIABLES.values(), f"{REGISTRY_TOKEN} {GIT_TOKEN}")
    environment = {**private_line.environment, **variables, "BUILDX_METADATA_PROVENANCE": "max"}
    # Everything comes from the cache, whatever is in the secrets: they are no part of any key.
    process.run([word.replace("--provenance=false", "--provenance=mode=max") for word in command], env=environment)
    metadata = (tmp_path / "metadata.json").read_text(encoding="utf-8")
    assert "fetch-tokens" in metadata
    assert leaks([("provenance", metadata.encode())]) == []


def test_only_steps_that_download_have_secrets_and_a_network() -> None:
    text = (shipped("Dockerfiles") / "layer.Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = {step.split("/")[-1].removesuffix(".sh"): step for step in re.findall(r"^RUN .*$", text, re.MULTILINE)}
    assert {"targets", "fetch", "cook", "contents", "contract"} <= steps.keys()
    secrets = {name: re.findall(r"type=secret,id=([a-z-]+)", step) for name, step in steps.items()}
    assert {name: found for name, found in secrets.items() if found} == {
        "targets": ["ca"],
        "system": ["ca", "apt", "apt-sources"],
        "fetch": ["ca", *VARIABLES],
    }
    assert {name for name, step in steps.items() if "--network=none" not in step} == {"targets", "system", "fetch"}
