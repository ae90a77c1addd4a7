"""Where builders that come and go keep what layers cooked: the cache-from and cache-to of BuildKit.

Nothing secret gets into any of them: BuildKit caches what steps leave on disk, and what is mounted as a secret is on no
disk. Credentials are those of Docker's own store, of the job (GitHub) or of the AWS variables; buildx takes them from
there, so no bake file has them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.config.model import BuildCacheSettings, Settings

_GITHUB_TOKEN = "ACTIONS_RUNTIME_TOKEN"  # noqa: S105 - the name of a variable


def cache_name(what: str, *, toolchain: str, host: str, cell: str) -> str:
    """Return what tells a layer's (or a tool's) cache from all others: `web-1.95.0-bookworm-x86_64`.

    `cell` is that of the matrix, "" for none, `host` the target triple that rustc has there as its own.
    """
    return "-".join((what, cell or toolchain, host.partition("-")[0]))


def cook_cache(settings: Settings, name: str, *, tag: str, compression: Sequence[str]) -> dict[str, list[str]]:
    """Return what the target has to be told whose steps are cooks: where they are looked up, and where they are kept.

    `tag` is the moving tag of the layer's image ("" for a tool, which no image of its own holds), which an inline
    cache is read from, `compression` as for images, so that blobs of both are the same ones.
    """
    cache = settings.build_cache
    if cache.type == "none":
        return {}
    if cache.type == "inline":
        return {"cache-from": [f"type=registry,ref={settings.image.repository}:{tag}"]} if tag else {}
    source, target = _places(settings, name)
    told = {"cache-from": [_line(cache.type, source)]}
    if cache.write:
        # What is compiled is in no step of the result, so `mode=min` would keep nothing of it.
        how = {"mode": "max", "ignore-error": "true"}
        packed = tuple(compression) if cache.type in ("registry", "local") else ()
        told["cache-to"] = [",".join((_line(cache.type, target | how), *packed))]
    return told


def image_cache(settings: Settings) -> dict[str, list[str]]:
    """Return what a target that exports an image has to be told beside `cook_cache`, so that it holds its own cache."""
    cache = settings.build_cache
    return {"cache-to": ["type=inline"]} if cache.type == "inline" and cache.write else {}


def cache_folders(cache: BuildCacheSettings) -> tuple[Path, ...]:
    """Return the directories that a build reads its cache from and writes it to."""
    return () if cache.folder is None else (_folder(cache),)


def unusable(cache: BuildCacheSettings) -> str:
    """Return why nothing is cached here in spite of the settings, "" where it is."""
    if cache.type == "gha" and not os.environ.get(_GITHUB_TOKEN):
        # buildx leaves such a cache out without a word.
        return f"build_cache.type is gha, and {_GITHUB_TOKEN} is not set: nothing is cached. docs/build-cache.md"
    return ""


def _places(settings: Settings, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the attributes by which a cache is read, and those by which it is written."""
    cache = settings.build_cache
    match cache.type:
        case "registry":
            ref = {"ref": f"{cache.ref or f'{settings.image.repository}-cache'}:{name}"}
            # A manifest like that of an image, which every registry takes.
            return ref, ref | {"image-manifest": "true", "oci-mediatypes": "true"}
        case "local":
            # One directory for all: blobs that several have are there once.
            return {"src": str(_folder(cache)), "tag": name}, {"dest": str(_folder(cache)), "tag": name}
        case "gha":
            scope = {"scope": "-".join(filter(None, (cache.scope, name)))}
            return scope, scope
        case _:
            bucket = {"bucket": cache.bucket or "", "region": cache.region or "", "name": name}
            more = {"prefix": cache.prefix, "endpoint_url": cache.endpoint}
            bucket |= {key: value for key, value in more.items() if value}
            bucket |= {"use_path_style": "true"} if cache.endpoint else {}
            return bucket, bucket


def _folder(cache: BuildCacheSettings) -> Path:
    return Path(cache.folder or "").absolute()


def _line(kind: str, attributes: dict[str, str]) -> str:
    return ",".join((f"type={kind}", *(f"{key}={value}" for key, value in attributes.items())))
