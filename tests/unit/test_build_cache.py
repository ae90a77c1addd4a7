"""Build caches: what each type has bake told, what a configuration may not say, and what is said of one that fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from factory.build_progress import cache_faults
from factory.config.load import FILE_NAME, load_configuration
from factory.config.model import BuildCacheSettings, ImageSettings, Settings, ToolSettings
from factory.cook.bake_file import bake_definition
from factory.cook.build_cache import unusable
from factory.cook.image_build import image_build
from factory.cook.images import build_commands
from factory.errors import ConfigurationError
from tests.unit.builders import plan_for, unit
from tests.unit.test_images import ENGINE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLAN = plan_for({"core": [unit("aa", name="serde")], "web": [unit("bb", "aa", name="axum")]})
IMAGE = ImageSettings(registry="registry.test", name="org/rust", tags=("{layer}-{date}", "{layer}"))
HOST = PLAN.contract.toolchain.host.partition("-")[0]


def targets(place: Path, *, cell: str = "", image: ImageSettings = IMAGE, **cache: object) -> Mapping[str, Any]:
    settings = Settings(
        image=image,
        build_cache=BuildCacheSettings.model_validate(cache),
        tools=ToolSettings.model_validate({"sccache": "0.10.0"}),
    )
    build = image_build(PLAN, settings, place, cell=cell)
    found: Mapping[str, Any] = bake_definition(build, host_network=False)["target"]
    return found


def told(target: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(line for key in ("cache-from", "cache-to") for line in target.get(key, ()))


@pytest.mark.parametrize(
    ("cache", "source", "target"),
    [
        (
            {"type": "registry"},
            "type=registry,ref=registry.test/org/rust-cache:NAME",
            "type=registry,ref=registry.test/org/rust-cache:NAME,image-manifest=true,oci-mediatypes=true,mode=max,"
            "ignore-error=true",
        ),
        (
            {"type": "registry", "ref": "other.test/cache"},
            "type=registry,ref=other.test/cache:NAME",
            "type=registry,ref=other.test/cache:NAME,image-manifest=true,oci-mediatypes=true,mode=max,"
            "ignore-error=true",
        ),
        (
            {"type": "gha", "scope": "team"},
            "type=gha,scope=team-NAME",
            "type=gha,scope=team-NAME,mode=max,ignore-error=true",
        ),
        (
            {"type": "local", "folder": "/var/cache/cook"},
            "type=local,src=/var/cache/cook,tag=NAME",
            "type=local,dest=/var/cache/cook,tag=NAME,mode=max,ignore-error=true",
        ),
        (
            {"type": "s3", "bucket": "ours", "region": "eu-1", "prefix": "cook/", "endpoint": "https://minio.test"},
            "type=s3,bucket=ours,region=eu-1,name=NAME,prefix=cook/,endpoint_url=https://minio.test,"
            "use_path_style=true",
            "type=s3,bucket=ours,region=eu-1,name=NAME,prefix=cook/,endpoint_url=https://minio.test,"
            "use_path_style=true,mode=max,ignore-error=true",
        ),
    ],
    ids=("registry", "named registry", "gha", "local", "s3"),
)
def test_cooks_are_looked_up_and_kept_by_layer(tmp_path: Path, cache: dict[str, Any], source: str, target: str) -> None:
    found = targets(tmp_path, **cache)
    for name, what in (("core-report", "core"), ("web-report", "web"), ("tool-sccache", "tool-sccache")):
        cache_name = f"{what}-{PLAN.contract.toolchain.version}-{HOST}"
        assert told(found[name]) == (source.replace("NAME", cache_name), target.replace("NAME", cache_name))
    # The image is of the very steps that its report was made by.
    assert [told(found[name]) for name in ("core", "web", "core-bare")] == [(), (), ()]
    read_only = targets(tmp_path, **cache, write=False)
    assert [told(read_only[f"{layer}-report"])[0] for layer in ("core", "web")] == [
        told(found[f"{layer}-report"])[0] for layer in ("core", "web")
    ]
    assert not any("cache-to" in each for each in read_only.values())


def test_rows_of_a_matrix_have_caches_of_their_own(tmp_path: Path) -> None:
    names = {told(targets(tmp_path, cell=cell, type="registry")["core-report"])[0] for cell in ("1.95.0-sid", "dev")}
    assert len(names) == 2
    assert any(name.endswith(f":core-1.95.0-sid-{HOST}") for name in names)


def test_an_inline_cache_is_in_the_image_and_read_by_its_moving_tag(tmp_path: Path) -> None:
    found = targets(tmp_path, type="inline")
    assert told(found["web"]) == ("type=inline",)
    assert told(found["web-report"]) == ("type=registry,ref=registry.test/org/rust:web",)
    assert told(found["tool-sccache"]) == ()
    assert told(targets(tmp_path, type="inline", write=False)["web"]) == ()


def test_blobs_of_cache_and_images_are_compressed_alike(tmp_path: Path) -> None:
    image = IMAGE.model_copy(update={"compression": "zstd"})
    written = {
        kind: targets(tmp_path, image=image, type=kind)["core-report"]["cache-to"] for kind in ("registry", "gha")
    }
    assert written["registry"][0].endswith(",compression=zstd,oci-mediatypes=true")
    assert "zstd" not in written["gha"][0]


def test_without_a_cache_no_target_is_told_of_one(tmp_path: Path) -> None:
    assert [told(each) for each in targets(tmp_path).values()] == [()] * len(targets(tmp_path))


def test_bake_may_write_the_folder_of_a_local_cache(tmp_path: Path) -> None:
    settings = Settings(image=IMAGE, build_cache=BuildCacheSettings(type="local", folder="/var/cache/cook"))
    commands = build_commands(image_build(PLAN, settings, tmp_path), ENGINE)
    assert all("--allow=fs=/var/cache/cook" in command for command in commands)


def test_githubs_cache_without_its_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIONS_RUNTIME_TOKEN", raising=False)
    assert "nothing is cached" in unusable(BuildCacheSettings(type="gha"))
    assert unusable(BuildCacheSettings()) == ""
    monkeypatch.setenv("ACTIONS_RUNTIME_TOKEN", "x")
    assert unusable(BuildCacheSettings(type="gha")) == ""


# What a configuration may not say


def faults(folder: Path, text: str) -> list[str]:
    (folder / FILE_NAME).write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(None, environ={}, start=folder)
    return caught.value.what.splitlines()


def test_all_faults_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = "build_cache:\n  type: s3\n  ref: x/y\n  folder: /c\n  prefix: a,b\n"
    assert faults(tmp_path, text) == [
        f"{FILE_NAME}:1:1: build_cache.bucket: is needed for build_cache.type: s3; write it, or set the type to none",
        f"{FILE_NAME}:1:1: build_cache.region: is needed for build_cache.type: s3; write it, or set the type to none",
        f"{FILE_NAME}:3:3: build_cache.ref: is for build_cache.type: registry, and that is s3; remove it, or change "
        "the type",
        f"{FILE_NAME}:4:3: build_cache.folder: is for build_cache.type: local, and that is s3; remove it, or change "
        "the type",
        f'{FILE_NAME}:5:3: build_cache.prefix: "a,b" does not fit; write a path like rust-builder/',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{type: azure}", '"azure" is not known'),
        ("{type: local}", "build_cache.folder: is needed"),
        ("{type: local, folder: 'a,b'}", "write a path without commas"),
        ("{type: registry, ref: 'ghcr.io/org/cache:tag'}", "write a repository without a tag"),
        ("{type: registry}", "build_cache.ref: image.registry is empty"),
        ("{type: inline}", "name their host in image.registry"),
        ("{type: s3, bucket: b, region: r, endpoint: 'https://me:secret@x'}", "holds a user name or a password"),
    ],
)
def test_what_would_not_work_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (line,) = faults(tmp_path, f"build_cache: {text}\n")
    assert message in line
    assert "secret" not in line


def test_an_inline_cache_needs_a_tag_that_moves(tmp_path: Path) -> None:
    text = "image: {registry: r.test, tags: ['{layer}-{date}']}\nbuild_cache: {type: inline}\n"
    assert "a tag without {date} and {plan}" in faults(tmp_path, text)[0]


# What is said of a cache that fails


def vertex(name: str, error: str) -> str:
    return json.dumps({"vertexes": [{"digest": "sha256:a", "name": name, "error": error}]})


def test_a_cache_that_is_not_read_or_written_is_told_and_one_that_is_not_there_yet_is_not() -> None:
    dead = 'do request: Head "https://r.test": dial tcp: connect: connection refused'
    assert list(cache_faults(vertex("exporting cache to registry", dead))) == [f"exporting cache to registry: {dead}"]
    assert list(cache_faults(vertex("importing cache manifest from r.test/x:y", dead))) == [
        f"importing cache manifest from r.test/x:y: {dead}"
    ]
    assert list(cache_faults(vertex("importing cache manifest from r.test/x:y", "r.test/x:y: not found"))) == []
    assert list(cache_faults(vertex("[cook 1/2] RUN false", dead))) == []
    assert [
        list(cache_faults(line)) for line in ("", "{no event", "{}", vertex("exporting cache to registry", ""))
    ] == [
        [],
        [],
        [],
        [],
    ]
