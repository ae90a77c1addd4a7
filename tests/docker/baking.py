"""Layers baked from recipes of tiny crates by the very Dockerfile that `factory build` uses, without the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory import process
from factory.cargo.lock import parse_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.docker.crates import CrateRegistry

DOCKERFILES = Path(__file__).resolve().parents[2] / "Dockerfiles"
EPOCH = 315_532_800
SHARE = "/usr/local/share/rust-warm-factory"


def bake_targets(folder: Path, base_image: str) -> dict[str, dict[str, Any]]:
    """Return bake targets for the report and the image of `core` and of `web` above it."""
    return (
        layer_targets(folder, "core", start="contract", parent=f"docker-image://{base_image}")
        | layer_targets(folder, "web", start="parent", parent="target:core")
    )  # fmt: skip


def rustc_verbose() -> str:
    return process.run(["rustc", "-vV"]).stdout.strip()


def layer_targets(folder: Path, layer: str, *, start: str, parent: str) -> dict[str, dict[str, Any]]:
    home = folder / layer
    (home / "contents").mkdir(exist_ok=True)
    shared: dict[str, Any] = {
        "context": str(DOCKERFILES),
        "dockerfile": "layer.Dockerfile",
        "contexts": {"parent": parent, "recipes": str(home / "recipes"), "contents": str(home / "contents")},
        "args": {
            "START": start,
            "LAYER": layer,
            "SOURCE_DATE_EPOCH": str(EPOCH),
            "RUSTC_VERBOSE": rustc_verbose(),
        },
        "network": "host",
    }
    report = shared | {"target": "report", "output": [f"type=local,dest={home / 'report'}"]}
    image = shared | {
        "target": "layer",
        "tags": [f"rust-warm-factory/test:{layer}"],
        "labels": {"from": str(folder)},
        "output": ["type=docker"],
        "attest": ["type=provenance,disabled=true"],
    }
    return {f"{layer}-report": report, layer: image}


def bake(bake_file: Path, target: str, *, readable: Sequence[Path] = ()) -> None:
    command = ["docker", "buildx", "bake", "--progress=plain", "--allow=network.host"]
    allowed = [f"--allow=fs.read={bake_file.parent.parent}", f"--allow=fs.read={DOCKERFILES}"]
    allowed += [f"--allow=fs.read={path}" for path in readable]
    process.run([*command, *allowed, f"--allow=fs.write={bake_file.parent}", f"--file={bake_file}", target])


def write_recipe(
    layer: Path,
    name: str,
    dependencies: Sequence[str],
    crates: CrateRegistry,
    *,
    cook: Sequence[str] = ("build", "--release"),
) -> None:
    recipes = layer / "recipes"
    write_package(recipes / name, name, dependencies, crates)
    (recipes / name / "build.rs").write_text("fn main() {}\n")
    (recipes / name / "cook.args").write_text("\n".join(cook))
    profile_and_target = [word for word in cook[1:] if word != "--no-run"]
    (recipes / name / "clean.args").write_text("\n".join(["clean", "--package", name, *profile_and_target]))
    with (recipes / "recipes.list").open("a") as names:
        names.write(f"{name}\n")
    locked = [entry.package for entry in parse_lock((recipes / name / "Cargo.lock").read_text()).packages]
    with (recipes / "locked.list").open("a") as lines:
        lines.writelines(f"{package.name} {package.version}\n" for package in locked)


def write_package(folder: Path, name: str, dependencies: Sequence[str], crates: CrateRegistry) -> None:
    """Write a package with its lock, which cargo makes here so that the image can build with --locked."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "lib.rs").write_text("")
    lines = "".join(f'{dependency} = "=1.0.0"\n' for dependency in dependencies)
    manifest = f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2021"\n\n[dependencies]\n{lines}'
    (folder / "Cargo.toml").write_text(manifest)
    (folder / ".cargo").mkdir()
    (folder / ".cargo" / "config.toml").write_text(crates.cargo_config)
    process.run(["cargo", "generate-lockfile"], cwd=folder)


def freshness(
    image: str, dependencies: Sequence[str], crates: CrateRegistry, folder: Path, *, user: str = "1001:1001"
) -> dict[str, bool]:
    """Build a consumer in the image without a network; return whether each package's library was fresh."""
    write_package(folder / "consumer", "consumer", dependencies, crates)
    process.run(["chmod", "-R", "a+rwX", folder / "consumer"])
    build = "cd /work && cargo build --release --locked --offline --message-format=json"
    mount = ("--volume", f"{folder / 'consumer'}:/work")
    lines = [json.loads(line) for line in in_container(image, build, user=user, options=mount).splitlines()]
    artifacts = of_reason(lines, "compiler-artifact")
    return {name_of(line): line["fresh"] for line in artifacts if line["target"]["kind"] == ["lib"]}


def in_container(image: str, script: str, *, user: str | None = None, options: Sequence[str] = ()) -> str:
    command = ["docker", "run", "--rm", "--network=none", *options, *([f"--user={user}"] if user else [])]
    return read_output([*command, image, "sh", "-euc", script])


def read_output(command: Sequence[str]) -> str:
    return process.run(command, timeout=120).stdout


def layer_digests(image: str) -> list[str]:
    layers: list[str] = json.loads(
        read_output(["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image])
    )
    return layers


def read_report(layer: Path) -> tuple[dict[str, Any], ...]:
    lines = (layer / "report" / layer.name / "cook.jsonl").read_text().splitlines()
    return tuple(json.loads(line) for line in lines)


def of_reason(lines: Sequence[dict[str, Any]], reason: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["reason"] == reason]


def name_of(artifact: dict[str, Any]) -> str:
    return str(artifact["target"]["name"]).replace("_", "-")
