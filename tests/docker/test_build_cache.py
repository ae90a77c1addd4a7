"""Build caches: what a builder that knows nothing takes from one instead of cooking, and that no secret is in there."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.build_progress import read_progress
from factory.config.model import BuildCacheSettings, ImageSettings, Settings
from factory.cook.bake_file import bake_definition
from factory.cook.fetch_secrets import VARIABLES
from factory.cook.image_build import image_build
from factory.files import write_json
from tests.docker.private_line import IMAGE, PrivateLine, entries, leaks
from tests.private_sources import SECRETS, WITNESS
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CACHE = "core-report"


@pytest.fixture
def caches(registry: str, tmp_path: Path) -> Mapping[str, Mapping[str, str]]:
    ref = f"{registry}/cache-test/{secrets.token_hex(4)}"
    return {
        "registry": {"FACTORY_BUILD_CACHE_TYPE": "registry", "FACTORY_BUILD_CACHE_REF": ref},
        "local": {"FACTORY_BUILD_CACHE_TYPE": "local", "FACTORY_BUILD_CACHE_FOLDER": str(tmp_path / "cache")},
    }


def built_afresh(
    line: PrivateLine, cache: Mapping[str, str], base: str, engine: Mapping[str, str], *, stage: str = "report"
) -> Mapping[str, bool]:
    """Build a stage in an engine that knows nothing, with a cache at hand; return which steps came from there."""
    process.run(["docker", "buildx", "prune", "--all", "--force"], env=engine)
    definition = json.loads(line.bake_file.read_text(encoding="utf-8"))
    target = definition["target"]["core-report"]
    target["contexts"]["parent"] = f"docker-image://{base}"
    target.pop("cache-to", None)
    target |= {"target": stage, "output": ["type=cacheonly"]}
    moved = line.folder / "docker-bake.json"
    write_json(moved, definition)
    command = [str(moved) if word == str(line.bake_file) else word for word in line.command("core-report", **cache)]
    # Nothing can be fetched by these, if it came to that.
    variables = dict.fromkeys(VARIABLES.values(), "wrong")
    answer = process.run([*command, f"--allow=fs={line.folder}"], env={**engine, **variables}, timeout=300, check=False)
    assert answer.ok, answer.stderr[-3000:]
    return {f"{step.stage}: {step.what}": step.cached for step in read_progress(answer.stderr).steps}


def blobs(folder: Path, *, without: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    """Yield what every file in every blob of a local cache holds, and blobs that are no archives as they are.

    `without` are blobs that were there before.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in without):
        content = path.read_bytes()
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as layer:
                yield from entries(layer)
        except tarfile.ReadError:
            yield str(path), content


def layers_of(reference: str) -> frozenset[str]:
    words = ["docker", "buildx", "imagetools", "inspect", "--raw", reference]
    return frozenset(row["digest"].partition(":")[2] for row in json.loads(process.run(words).stdout)["layers"])


def test_a_builder_that_knows_nothing_takes_cooks_from_the_cache(
    private_line: PrivateLine,
    caches: Mapping[str, Mapping[str, str]],
    published_base: str,
    fresh_engine: Mapping[str, str],
    tmp_path: Path,
) -> None:
    for kind, cache in caches.items():
        filled = private_line.factory("build", **cache)
        assert filled.returncode == 0, filled.stderr
        assert "cache" not in filled.stderr
        steps = built_afresh(private_line, cache, published_base, fresh_engine)
        cooks = [cached for what, cached in steps.items() if "/run/factory/" in what]
        assert (len(cooks), all(steps.values())) == (3, True), (kind, steps)
    held = dict(blobs(tmp_path / "cache", without=layers_of(published_base)))
    # What was fetched by the tokens is in there, the tokens are not.
    assert any(name.endswith(WITNESS) for name in held)
    assert leaks(held.items()) == []
    assert leaks([("planted", SECRETS[0].encode())]) == ["planted"]


def test_the_image_itself_can_be_the_cache(
    private_line: PrivateLine, published_base: str, fresh_engine: Mapping[str, str], registry: str
) -> None:
    name = f"cache-test/{secrets.token_hex(4)}"
    cache = {
        "FACTORY_BUILD_CACHE_TYPE": "inline",
        "FACTORY_IMAGE_REGISTRY": registry,
        "FACTORY_IMAGE_NAME": name,
    }
    filled = private_line.factory("build", **cache)
    assert filled.returncode == 0, filled.stderr
    process.run(["docker", "push", "--quiet", f"{registry}/{name}:core"], timeout=600)
    process.run(["docker", "image", "rm", f"{registry}/{name}:core"])
    steps = built_afresh(private_line, cache, published_base, fresh_engine, stage="cook")
    # The contract, where builds begin, what is fetched, what is cooked.
    assert list(steps.values()) == [True] * 4, steps


def test_a_cache_that_cannot_be_written_is_a_warning(private_line: PrivateLine, docker_env: Mapping[str, str]) -> None:
    assert docker_env
    dead = {"FACTORY_BUILD_CACHE_TYPE": "registry", "FACTORY_BUILD_CACHE_REF": "127.0.0.1:9/cache"}
    done = private_line.factory("build", **dead)
    assert done.returncode == 0, done.stderr
    assert "warning: exporting cache to registry: " in done.stderr
    assert f"loaded {IMAGE}" in done.stderr


@pytest.mark.parametrize(
    "cache",
    [
        {"type": "gha", "scope": "team"},
        {"type": "s3", "bucket": "ours", "region": "eu-central-1", "prefix": "cook/", "endpoint": "https://minio.test"},
    ],
    ids=("gha", "s3"),
)
def test_what_cannot_run_here_is_what_buildx_reads(
    cache: dict[str, Any], docker_env: Mapping[str, str], tmp_path: Path
) -> None:
    settings = Settings(image=ImageSettings(name="org/rust"), build_cache=BuildCacheSettings.model_validate(cache))
    definition = bake_definition(image_build(plan_for({"core": [unit("aa")]}), settings, tmp_path), host_network=False)
    write_json(tmp_path / "docker-bake.json", definition)
    words = ["docker", "buildx", "bake", "--print", "-f", str(tmp_path / "docker-bake.json"), CACHE]
    # buildx adds the credentials itself, where it finds them.
    environment = {**docker_env, "ACTIONS_RUNTIME_TOKEN": "x", "ACTIONS_RESULTS_URL": "https://results.test/"}
    shown = json.loads(process.run(words, env=environment).stdout)["target"][CACHE]
    names = {"gha": "scope", "s3": "name"}
    for key in ("cache-from", "cache-to"):
        (read,) = (
            row if isinstance(row, dict) else dict(part.split("=", 1) for part in row.split(",")) for row in shown[key]
        )
        assert read["type"] == cache["type"]
        assert "core-1.95.0-" in read[names[cache["type"]]]
        assert ("mode" in read) == (key == "cache-to")
