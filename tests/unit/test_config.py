"""`registry-config.yaml` and `FACTORY_*`: every kind of fault has its place and its remedy, every value its source."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from factory.config.byte_sizes import format_size, parse_size
from factory.config.environment import variables
from factory.config.load import (
    FILE_NAME,
    Configuration,
    Source,
    SourceKind,
    json_schema,
    load_configuration,
    show,
)
from factory.config.model import BudgetSettings, ImageSettings, Settings, StrictModel
from factory.config.positions import parse_yaml
from factory.config.schema import keys_at, leaves, schema_of
from factory.config.wording import describe
from factory.errors import ConfigurationError, FactoryError
from factory.platforms import Platform
from factory.program_variables import ProgramVariable
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE_KEYS = ", ".join(keys_at(schema_of(Settings), ("image",)))


def load(folder: Path, text: str | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    if text is not None:
        (folder / FILE_NAME).write_text(text, encoding="utf-8")
    return load_configuration(None, environ=environ or {}, start=folder)


def faults(folder: Path, text: str | None = None, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, environ)
    assert "docs/configuration.md" in caught.value.advice
    assert caught.value.exit_code == 2
    return caught.value.what.splitlines()


def documented_rows() -> list[str]:
    """The table of keys in docs/configuration.md."""
    names = {leaf.key: variable for variable, leaf in variables(json_schema()).items()}
    rows = []
    for leaf in leaves(json_schema()):
        variable = f"`{names[leaf.key]}`" if leaf.key in names else "none"
        rows.append(f"| `{leaf.key}` | {variable} | `{json.dumps(leaf.default)}` | {leaf.description} |")
    return rows


EXAMPLE_OF_THE_DOCUMENTATION = """\
imgae:
  name: org/rust-builder
platforms: [linux/amd64, linux/arm]
toolchain: 1.80
user:
  uid: "1001"
"""


def errors_of_the_documentation() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        return faults(Path(folder), EXAMPLE_OF_THE_DOCUMENTATION, {"FACTORY_BUDGET_TOTL": "1 GB"})


# The defaults and what is shipped


def test_the_shipped_file_has_every_key_at_its_default() -> None:
    configuration = load_configuration(shipped(FILE_NAME), environ={}, start=ROOT)
    assert configuration.settings == Settings()
    assert {source.kind for source in configuration.sources.values()} == {SourceKind.FILE}
    assert configuration.warnings == ()


def test_every_key_of_the_shipped_file_has_a_comment_above_it_or_above_its_table() -> None:
    lines = shipped(FILE_NAME).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z]+:", line):
            assert lines[number - 1].startswith("#"), line


def test_without_a_file_everything_is_a_default(tmp_path: Path) -> None:
    configuration = load(tmp_path)
    assert configuration.settings == Settings()
    assert configuration.file is None
    assert configuration.folder == tmp_path
    assert set(configuration.sources.values()) == {Source(kind=SourceKind.DEFAULT, where="default")}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "schema: 1\n", "{}\n", "\ufeffschema: 1\n"])
def test_an_empty_file_gives_the_defaults(tmp_path: Path, text: str) -> None:
    configuration = load(tmp_path, text)
    assert configuration.settings == Settings()
    assert configuration.file == tmp_path / FILE_NAME


def test_settings_cannot_change() -> None:
    with pytest.raises(ValidationError):
        Settings().image.name = "x"  # type: ignore[misc]


def test_what_is_derived_from_settings(tmp_path: Path) -> None:
    text = "platforms: [linux/arm64, linux/amd64]\nbase: {suite: trixie}\nbudget: {total: 1 GB, safety_percent: 15}\n"
    settings = load(tmp_path, text).settings
    assert settings.platforms == (Platform.LINUX_AMD64, Platform.LINUX_ARM64)
    assert [platform.rust_target for platform in settings.platforms] == [
        "x86_64-unknown-linux-gnu",
        "aarch64-unknown-linux-gnu",
    ]
    assert settings.base_image == "rust:1.95.0-slim-trixie"
    assert settings.budget.plannable(settings.budget.total) == 850_000_000
    assert settings.image.repository == "org/rust-builder"


def test_image_names_are_filled_in() -> None:
    image = ImageSettings(registry="ghcr.io", name="a/b", tags=("{layer}", "{layer}-{rust}-{date}.{plan}"))
    assert image.repository == "ghcr.io/a/b"
    assert image.tags_of(layer="web", rust="1.95.0", date="20261121", plan="ab12") == (
        "web",
        "web-1.95.0-20261121.ab12",
    )


def test_code_may_give_sizes_in_bytes() -> None:
    assert BudgetSettings(total=5).total == 5


# Faults of a file, each at its place

ONE_FAULT = {
    "unknown key": ("image:\n  nmae: a/b\n", "2:3: image.nmae: unknown key; did you mean name?"),
    "unknown table": ("budgte: {}\n", "1:1: budgte: unknown key; did you mean budget?"),
    "unknown, in hyphens": (
        "cook: {cargo-profiles: [dev]}\n",
        "1:8: cook.cargo-profiles: unknown key; remove it, known keys here are variants",
    ),
    "key of another table": (
        "name: a/b\n",
        "1:1: name: unknown key here; did you mean image.name or user.name?",
    ),
    "unknown, near nothing": (
        "base: {zzz: 1}\n",
        "1:8: base.zzz: unknown key; remove it, known keys here are image, suite, install_packages, apt_sources",
    ),
    "number as key": (
        "base: {1: 1}\n",
        "1:8: base.1: unknown key; remove it, known keys here are image, suite, install_packages, apt_sources",
    ),
    "merge key": (
        "base: {<<: {}}\n",
        "1:8: base.<<: unknown key; remove it, known keys here are image, suite, install_packages, apt_sources",
    ),
    "key that is a list": ("base:\n  ? [a]\n  : 1\n", "2:5: base: has a key that is not plain text; write a word"),
    "duplicate key": (
        "user: {uid: 5}\ntoolchain: '1.95.0'\nuser: {uid: 6}\n",
        "3:1: user: is set a second time, first in line 1; keep one of them",
    ),
    "nested duplicate": (
        "user:\n  uid: 5\n  uid: 6\n",
        "3:3: user.uid: is set a second time, first in line 2; keep one of them",
    ),
    "other schema": ("schema: 2\n", "1:1: schema: 2 is not known; write 1"),
    "toolchain as number": (
        "toolchain: 1.80\n",
        "1:1: toolchain: a version without quotes is a number, and 1.80 is 1.8; quote it, all three parts, "
        'like "1.95.0"',
    ),
    "partial toolchain": (
        "toolchain: '1.95'\n",
        '1:1: toolchain: "1.95" does not fit; write all three numbers of a release, like "1.95.0"',
    ),
    "channel": (
        "toolchain: stable\n",
        '1:1: toolchain: "stable" does not fit; write all three numbers of a release, like "1.95.0"',
    ),
    "old toolchain": (
        "toolchain: 1.84.9\n",
        "1:1: toolchain: 1.84.9 is too old: unit keys are known from 1.85.0 on; take a newer one",
    ),
    "text as number with zeros": (
        "image:\n  name: 1.10\n",
        '2:3: image.name: 1.10 is a number, which loses zeros at its end, and text is needed; quote it: "1.10"',
    ),
    "text as number": ("user:\n  name: 12\n", '2:3: user.name: 12 is a number, and text is needed; quote it: "12"'),
    "text as infinity": (
        "user:\n  name: .inf\n",
        '2:3: user.name: .inf is a number, and text is needed; quote it: ".inf"',
    ),
    "text as truth": (
        "base:\n  suite: true\n",
        '2:3: base.suite: true means yes or no here, and text is needed; quote it: "true"',
    ),
    "text as nothing": (
        "base:\n  suite:\n",
        "2:3: base.suite: has no value; write one, or remove the key to get its default",
    ),
    "text as list": (
        "base:\n  suite: [a]\n",
        "2:3: base.suite: is a list, and one text is needed; write it in one line",
    ),
    "number in quotes": (
        'user:\n  uid: "1001"\n',
        '2:3: user.uid: "1001" is text, and a whole number is needed; remove the quotes',
    ),
    "number in words": (
        "limits: {jobs: many}\n",
        '1:10: limits.jobs: is "many", and a whole number is needed; write it in digits',
    ),
    "fraction": (
        "limits: {jobs: 1.0}\n",
        "1:10: limits.jobs: is 1.0, and a whole number is needed; write it in digits",
    ),
    "root's id": ("user: {uid: 0}\n", "1:8: user.uid: 0 is too small; write 1 or more"),
    "huge id": ("user: {gid: 2147483648}\n", "1:8: user.gid: 2147483648 is too large; write 2147483647 or less"),
    "number of 5000 digits": (
        f"user: {{gid: {'9' * 5000}}}\n",
        "1:8: user.gid: is a number that cannot be read; correct or quote it",
    ),
    "root's name": (
        "user: {name: root}\n",
        "1:8: user.name: root is there already, and caches that root owns are the trouble to avoid; name another user",
    ),
    "user's name": (
        "user: {name: Max M}\n",
        '1:8: user.name: "Max M" does not fit; write a user name of lower-case letters, digits, _ and -',
    ),
    "table as list": (
        "image: [a]\n",
        f'1:1: image: is a list, and keys are needed ({IMAGE_KEYS}); write "key: value" lines under it',
    ),
    "empty table": (
        "image:\n",
        f"1:1: image: is nothing, and keys are needed ({IMAGE_KEYS}); put keys under it, or remove it",
    ),
    "list as text": (
        "platforms: linux/amd64\n",
        '1:1: platforms: is "linux/amd64", and a list is needed; write ["linux/amd64"]',
    ),
    "list as table": (
        "platforms: {a: 1}\n",
        "1:1: platforms: is a table of keys, and a list is needed; write - before each item",
    ),
    "empty list": (
        "platforms: []\n",
        "1:1: platforms: is empty; name at least one, or remove the key to get its default",
    ),
    "platform": (
        "platforms:\n  - linux/amd64\n  - linux/arm\n",
        '3:5: platforms.1: "linux/arm" is not known; write linux/amd64 or linux/arm64',
    ),
    "platform twice": (
        "platforms: [linux/amd64, linux/amd64]\n",
        "1:1: platforms: linux/amd64 is listed twice; name each once",
    ),
    "registry without dot": (
        "image: {registry: ghcr}\n",
        '1:9: image.registry: "ghcr" does not fit; write a host like ghcr.io or localhost:5000, the rest belongs in '
        "image.name",
    ),
    "image name": (
        "image: {name: Org/x}\n",
        '1:9: image.name: "Org/x" does not fit; write lower-case parts like org/rust-builder',
    ),
    "image name with a line": (
        'image: {name: "a\\n"}\n',
        '1:9: image.name: "a\\n" does not fit; write lower-case parts like org/rust-builder',
    ),
    "long image name": (
        f"image: {{name: {'a' * 201}}}\n",
        f'1:9: image.name: "{"a" * 59}… is too long; write 200 characters at most',
    ),
    "tag without layer": (
        "image:\n  tags:\n    - latest\n",
        '3:7: image.tags.0: "latest" would be the same tag for every layer; put {layer} into it',
    ),
    "tag placeholder": (
        "image: {tags: ['{layer}-{foo}']}\n",
        "1:16: image.tags.0: {foo} is not a placeholder; "
        "use {layer}, {rust}, {date}, {plan}, {minor}, {suite}, {label}",
    ),
    "tag letters": (
        "image: {tags: ['{layer}:x']}\n",
        '1:16: image.tags.0: "{layer}:x" does not make a tag; use letters, digits, "_", "." and "-" beside '
        "{layer}, {rust}, {date}, {plan}, {minor}, {suite}, {label}",
    ),
    "tag twice": (
        "image: {tags: ['{layer}', '{layer}']}\n",
        "1:9: image.tags: {layer} is listed twice; name each once",
    ),
    "base image": (
        "base: {image: 'rust:1 x'}\n",
        '1:8: base.image: "rust:1 x" does not fit; write an image reference like rust:1.95.0-slim-bookworm@sha256:…',
    ),
    "short digest": (
        "base: {image: 'rust@sha256:12'}\n",
        '1:8: base.image: "rust@sha256:12" does not fit; write an image reference like '
        "rust:1.95.0-slim-bookworm@sha256:…",
    ),
    "suite": (
        "base: {suite: Bookworm}\n",
        '1:8: base.suite: "Bookworm" does not fit; write the name of a Debian suite, like bookworm',
    ),
    "relative path": (
        "contract: {cargo_home: cargo}\n",
        "1:12: contract.cargo_home: \"cargo\" does not fit; write an absolute path of letters, digits, '.', '_', '-' "
        "and '/'",
    ),
    "path with dots": (
        "contract: {cargo_home: /a/../b}\n",
        '1:12: contract.cargo_home: "/a/../b" is not a plain path; write it without "..", "." or double slashes, and '
        "below /",
    ),
    "path that ends in a slash": (
        "contract: {cargo_home: /a/}\n",
        '1:12: contract.cargo_home: "/a/" is not a plain path; write it without "..", "." or double slashes, and '
        "below /",
    ),
    "build directory inside": (
        "contract:\n  cargo_home: /a\n  build_dir: /a/b\n",
        "3:3: contract.build_dir: /a/b lies in contract.cargo_home (/a); choose a path outside of it",
    ),
    "build directory outside": (
        "contract:\n  build_dir: /a\n  cargo_home: /a/b\n",
        "2:3: contract.build_dir: /a holds contract.cargo_home (/a/b); choose a path beside it",
    ),
    "the same directory": (
        "contract:\n  cargo_home: /usr/local/cargo-build\n",
        "1:1: contract.build_dir: /usr/local/cargo-build lies in contract.cargo_home (/usr/local/cargo-build); choose "
        "a path outside of it",
    ),
    "cells of a matrix without a tag": (
        'schema: 1\nmatrix:\n  - toolchain: "1.95.0"\n  - suite: trixie\n',
        "2:1: matrix: 1.95.0-trixie has no tag of its own; put {rust}, {suite} or {label} into one of image.tags",
    ),
    "label without a matrix": (
        'toolchain: "1.95.0"\nimage:\n  tags: ["{layer}-{label}"]\n',
        "3:3: image.tags: {label} is for the cells of a matrix; write a tag without it",
    ),
    "two flags in one": (
        'contract: {rustflags: ["-C opt-level=3"]}\n',
        '1:24: contract.rustflags.0: "-C opt-level=3" would reach rustc as one argument; list its words: '
        '["-C", "opt-level=3"]',
    ),
    "empty flag": (
        "contract: {rustflags: ['']}\n",
        '1:24: contract.rustflags.0: "" does not fit; write one argument of rustc',
    ),
    "size without unit": (
        "budget: {total: 2000}\n",
        '1:10: budget.total: a size needs a number and a unit; write it like "500 MB" or "1.5 GiB"',
    ),
    "size of nothing": (
        "budget: {total: 0 MB}\n",
        '1:10: budget.total: "0 MB" is less than one byte; give a larger size',
    ),
    "size of another unit": (
        "budget: {total: 2 Gb}\n",
        '1:10: budget.total: "2 Gb" is not a size; write a number and a unit, like "500 MB" or "1.5 GiB"',
    ),
    "safety": ("budget: {safety_percent: 91}\n", "1:10: budget.safety_percent: 91 is too large; write 90 or less"),
    "an earlier version's key": (
        "cook: {cargo_profiles: [dev]}\n",
        "1:8: cook.cargo_profiles: unknown key; it is called cook.variants now",
    ),
    "variant": (
        "cook: {variants: [a b]}\n",
        '1:19: cook.variants.0: "a b" is no variant; write PROFILE, COMMAND:PROFILE or PROFILE@TRIPLE, '
        "like release, check:dev, test:dev+workspace or release@wasm32-unknown-unknown",
    ),
    "variant of cargo's debug": (
        "cook: {variants: [debug]}\n",
        "1:19: cook.variants.0: cargo's profile is called dev, debug is only its directory; write dev",
    ),
    "variant for a specification": (
        "cook: {variants: [dev@./evil.json]}\n",
        '1:19: cook.variants.0: "dev@./evil.json" is no variant; write PROFILE, COMMAND:PROFILE or PROFILE@TRIPLE, '
        "like release, check:dev, test:dev+workspace or release@wasm32-unknown-unknown",
    ),
    "one variant in two ways": (
        "cook: {variants: [release, build:release]}\n",
        "1:8: cook.variants: release is listed twice; name each once",
    ),
    "source of two kinds": (
        "sources:\n  - path: a\n    git: https://a/b\n",
        "2:5: sources.0: needs exactly one of path and git; keep one of them",
    ),
    "source of no kind": ("sources: [{}]\n", "1:11: sources.0: needs exactly one of path and git; keep one of them"),
    "ref of a path": (
        "sources: [{path: a, ref: b}]\n",
        "1:11: sources.0: ref goes with git only; remove it, or name the repository by git",
    ),
    "source as text": (
        "sources: [a]\n",
        '1:11: sources.0: is "a", and keys are needed (path, git, ref, builds); write "key: value" lines under it',
    ),
    "git option": (
        "sources: [{git: --upload-pack=x}]\n",
        '1:12: sources.0.git: "--upload-pack=x" is not a git URL; write https://…, ssh://…, git://…, file://… or '
        "user@host:path",
    ),
    "git helper": (
        "sources: [{git: 'ext::sh -c x'}]\n",
        '1:12: sources.0.git: "ext::sh -c x" is not a git URL; write https://…, ssh://…, git://…, file://… or '
        "user@host:path",
    ),
    "ref option": (
        "sources: [{git: 'https://a/b', ref: --x}]\n",
        '1:32: sources.0.ref: "--x" does not fit; write a branch, a tag or a commit, without blanks',
    ),
    "unknown key of a source": (
        "sources: [{giit: a, path: b}]\n",
        "1:12: sources.0.giit: unknown key; did you mean git?",
    ),
    "tool without version": (
        "tools: {sccache: latest}\n",
        '1:9: tools.sccache: "latest" does not fit; write one exact version, like "0.1.77", or null for none',
    ),
    "tool as number": (
        "tools: {cargo-chef: 0.1}\n",
        "1:9: tools.cargo-chef: a version without quotes is a number, and 1.80 is 1.8; quote it, all three parts, "
        'like "1.95.0"',
    ),
    "tool by its field": (
        "tools: {cargo_chef: null}\n",
        "1:9: tools.cargo_chef: unknown key; did you mean cargo-chef?",
    ),
    "no time": ("limits: {cook_timeout: 0}\n", "1:10: limits.cook_timeout: 0 is too small; write 1 or more"),
    "tag": ("user: {name: !name x}\n", "1:8: user.name: has a tag (!name); remove it"),
    "alias": (
        "user: {name: &a x}\nbase: {suite: *a}\n",
        "2:8: base.suite: is an alias (*name); write the value itself",
    ),
    "alias of itself": ("sources: &a [*a]\n", "1:1: sources.0: is an alias (*name); write the value itself"),
    "half a character": (
        'user: {name: "\\ud800"}\n',
        "1:8: user.name: holds half of a character; write it as UTF-8",
    ),
    "list as document": ("- a\n", '1:1: not a table of keys; write "key: value" lines'),
    "text as document": ("  a\n", '1:3: not a table of keys; write "key: value" lines'),
    "tab": ("user:\n\tuid: 5\n", "2:1: not YAML: a tab cannot indent; use blanks"),
    "unclosed list": (
        "platforms: [\nuser: {}\n",
        "3:1: not YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence that began in line "
        "1; correct the syntax here or just above",
    ),
    "unknown alias": (
        "user: *a\n",
        "1:7: not YAML: found undefined alias 'a'; correct the syntax here or just above",
    ),
    "two documents": (
        "user: {}\n---\nuser: {}\n",
        "2:1: not YAML: but found another document expected a single document in the stream that began in line 1; "
        "correct the syntax here or just above",
    ),
    "nested too deeply": ("a: " + "[" * 1000, "1:1: nested too deeply; keep to the keys of the documentation"),
    "nested deeply": (
        f"sources: {'[' * 210}{']' * 210}\n",
        "1:1: nested too deeply; keep to the keys of the documentation",
    ),
}


@pytest.mark.parametrize(("text", "expected"), ONE_FAULT.values(), ids=ONE_FAULT)
def test_a_fault_has_its_place_and_its_remedy(tmp_path: Path, text: str, expected: str) -> None:
    assert faults(tmp_path, text) == [f"{FILE_NAME}:{expected}"]


def test_a_control_character_is_a_fault(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, "user: \x01\n")
    assert line.startswith(f"{FILE_NAME}:1:1: not YAML: unacceptable character #x0001")


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "limits: {jobs: a}\nimgae: {}\nuser: {uid: 0, uid: 1}\nbase:\n  suite: !x y\ntoolchain: 1.80\n"
    lines = faults(tmp_path, text, {"FACTORY_USER_GID": "x", "FACTORY_NONSENSE": "1"})
    assert [line.split(" ")[0] for line in lines] == [
        f"{FILE_NAME}:1:10:",
        f"{FILE_NAME}:2:1:",
        f"{FILE_NAME}:3:8:",
        f"{FILE_NAME}:3:16:",
        f"{FILE_NAME}:5:3:",
        f"{FILE_NAME}:6:1:",
        "environment:",
        "environment:",
    ]


def test_a_broken_file_does_not_hide_faults_of_variables(tmp_path: Path) -> None:
    lines = faults(tmp_path, "a: [", {"FACTORY_USER_UID": "0"})
    assert len(lines) == 2
    assert lines[1] == "environment: FACTORY_USER_UID: 0 is too small; write 1 or more"


@pytest.mark.parametrize("url", ["https://token@host/x", "https://u:secret@host/x", "ssh://u:secret@host/x"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    (line,) = faults(tmp_path, f"sources: [{{git: '{url}'}}]\n")
    assert line == (
        f"{FILE_NAME}:1:12: sources.0.git: the URL holds a user name or a password; leave them out and use git's "
        "credential helper or ssh"
    )


@pytest.mark.parametrize(
    "url", ["https://a.b/c.git", "ssh://git@a.b:22/c", "git@github.com:o/r.git", "file:///srv/r", "git://h/r"]
)
def test_git_urls(tmp_path: Path, url: str) -> None:
    (source,) = load(tmp_path, f"sources: [{{git: '{url}', ref: 'v1/x'}}]\n").settings.sources
    assert (source.git, source.ref, source.path) == (url, "v1/x", None)


@pytest.mark.parametrize(
    "reference",
    [
        "rust",
        "rust:1.95.0-slim-bookworm",
        f"rust:1.95.0@{DIGEST}",
        f"rust@{DIGEST}",
        "localhost:5000/a/b_c:x",
        "ghcr.io/a/b__c-d.e:X_y",
        "registry:5000/x",
    ],
)
def test_image_references(tmp_path: Path, reference: str) -> None:
    assert load(tmp_path, f"base: {{image: '{reference}'}}\n").settings.base_image == reference


@pytest.mark.parametrize("registry", ["", "ghcr.io", "localhost", "localhost:5000", "127.0.0.1:5000", "registry:5000"])
def test_registries(tmp_path: Path, registry: str) -> None:
    assert load(tmp_path, f"image: {{registry: '{registry}'}}\n").settings.image.registry == registry


def test_a_base_image_without_digest_is_a_warning(tmp_path: Path) -> None:
    configuration = load(tmp_path, "base:\n  image: rust:1.95.0\n")
    assert configuration.warnings == (
        f"{FILE_NAME}:2:3: base.image: rust:1.95.0 can change under its tag; pin it as name:tag@sha256:…",
    )
    assert load(tmp_path, f"base: {{image: 'rust:1.95.0@{DIGEST}'}}\n").warnings == ()
    (warning,) = load(tmp_path, "", {"FACTORY_BASE_IMAGE": "rust"}).warnings
    assert warning.startswith("environment: FACTORY_BASE_IMAGE: rust can change")


class _Switch(StrictModel):
    push: bool = False
    count: int


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("push: no", '"no" is text in YAML 1.2, and yes or no is needed; write false, without quotes'),
        ("push: Yes", '"Yes" is text in YAML 1.2, and yes or no is needed; write true, without quotes'),
        ("push: 1", "is 1, and yes or no is needed; write true or false"),
    ],
)
def test_yes_and_no_are_explained(content: str, expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Switch.model_validate_json(json.dumps(dict(parse_yaml(content).content)))
    first, second = (describe(error, schema=schema_of(_Switch)) for error in caught.value.errors())
    assert first == expected
    assert second == "is missing; add it"


def test_yaml_scalars_are_those_of_version_1_2() -> None:
    document = parse_yaml("a: no\nb: 0o17\nc: 0x1F\nd: 1_000\ne: 2026-01-01\nf: TRUE\ng: ~\nh: 010\ni: -.inf\nj: 1e3\n")
    assert document.faults == ()
    assert document.content == {
        "a": "no",
        "b": 15,
        "c": 31,
        "d": 1000,
        "e": "2026-01-01",
        "f": True,
        "g": None,
        "h": 10,
        "i": float("-inf"),
        "j": 1000.0,
    }


@given(st.text(max_size=60))
def test_any_text_is_read_or_explained(text: str) -> None:
    document = parse_yaml(text)
    assert all(fault.message and fault.position.line >= 1 and fault.position.column >= 1 for fault in document.faults)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["1.80", "release", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@example({"schema": {"\n": "\U00010000"}})
@given(st.dictionaries(st.sampled_from([leaf.key for leaf in leaves(json_schema())]), VALUES, max_size=6))
def test_whatever_the_values_are_they_are_taken_or_explained(values: dict[str, Any]) -> None:
    content: dict[str, Any] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        (content.setdefault(table, {}) if table else content)[name] = value
    with tempfile.TemporaryDirectory() as folder:
        try:
            load(Path(folder), json.dumps(content).replace("Infinity", ".inf").replace("NaN", ".nan"))
        except ConfigurationError as error:
            lines = error.what.split("\n")
            assert [line for line in lines if not re.fullmatch(rf"{FILE_NAME}:[0-9]+:[0-9]+: [a-z].+; .+", line)] == []


# Variables


def test_every_scalar_and_every_list_has_a_variable_of_its_own() -> None:
    known = variables(json_schema())
    keys = [leaf.key for leaf in leaves(json_schema())]
    tables = {"matrix", "sources", "registries", "git"}
    assert sorted(leaf.key for leaf in known.values()) == sorted(set(keys) - tables)
    assert not set(known) & set(ProgramVariable)
    assert {"FACTORY_IMAGE_NAME", "FACTORY_BUDGET_TOTAL", "FACTORY_PLATFORMS", "FACTORY_TOOLS_CARGO_CHEF"} <= set(known)


@pytest.mark.parametrize(
    ("variable", "text", "key", "shown"),
    [
        ("FACTORY_IMAGE_NAME", "a/b", "image.name", "a/b"),
        ("FACTORY_IMAGE_REGISTRY", "", "image.registry", '""'),
        ("FACTORY_PLATFORMS", "linux/arm64, linux/amd64", "platforms", '["linux/amd64", "linux/arm64"]'),
        ("FACTORY_TOOLCHAIN", "1.96.0", "toolchain", "1.96.0"),
        ("FACTORY_USER_UID", "7", "user.uid", "7"),
        ("FACTORY_BUDGET_TOTAL", "1.5 GiB", "budget.total", "1.5 GiB"),
        ("FACTORY_CONTRACT_RUSTFLAGS", "-C link-arg=-Wl,-z,now", "contract.rustflags", '["-C", "link-arg=-Wl,-z,now"]'),
        ("FACTORY_CONTRACT_RUSTFLAGS", "", "contract.rustflags", "[]"),
        ("FACTORY_TOOLS_CARGO_CHEF", "0.1.77", "tools.cargo-chef", "0.1.77"),
        ("FACTORY_LIMITS_JOBS", "3", "limits.jobs", "3"),
        ("FACTORY_LIMITS_JOBS", "", "limits.jobs", "null"),
        ("FACTORY_SCHEMA", "1", "schema", "1"),
    ],
)
def test_a_variable_sets_its_key(tmp_path: Path, variable: str, text: str, key: str, shown: str) -> None:
    configuration = load(tmp_path, "user: {uid: 5}\nlimits: {jobs: 9}\n", {variable: text, "PATH": "/bin"})
    assert configuration.sources[key] == Source(kind=SourceKind.ENVIRONMENT, where=variable)
    assert (key, shown, variable) in show(configuration)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("FACTORY_IMAGE_NAM", "x", "unknown variable; did you mean FACTORY_IMAGE_NAME?"),
        ("FACTORY_CACHEDIR", "x", "unknown variable; did you mean FACTORY_CACHE_DIR?"),
        ("FACTORY_SOURCES", "x", "unknown variable; unset it, `factory config show` lists the keys"),
        ("FACTORY_USER_UID", "me", 'is "me", and a whole number is needed; write it in digits'),
        ("FACTORY_USER_UID", "", 'is "", and a whole number is needed; write it in digits'),
        ("FACTORY_PLATFORMS", "linux/amd64,linux/arm", '"linux/arm" is not known; write linux/amd64 or linux/arm64'),
        ("FACTORY_PLATFORMS", "", "is empty; name at least one, or remove the key to get its default"),
        ("FACTORY_USER_NAME", "a\nb", "holds unprintable characters; write plain UTF-8 text"),
        ("FACTORY_USER_NAME", "a\udc80", "holds unprintable characters; write plain UTF-8 text"),
        ("FACTORY_TOOLCHAIN", "1.80", '"1.80" does not fit; write all three numbers of a release, like "1.95.0"'),
    ],
)
def test_a_fault_of_a_variable_names_it(tmp_path: Path, variable: str, text: str, message: str) -> None:
    environ = {variable: text}
    if variable == "FACTORY_SOURCES":
        assert faults(tmp_path, "", environ)[0].startswith("environment: FACTORY_SOURCES: unknown variable; ")
    else:
        assert faults(tmp_path, "user: {uid: 5}\n", environ) == [f"environment: {variable}: {message}"]


def test_the_programs_own_variables_are_no_settings(tmp_path: Path) -> None:
    environ = {str(name): "x" for name in ProgramVariable if name is not ProgramVariable.CONFIG}
    assert load(tmp_path, None, environ).settings == Settings()


def test_every_variable_that_a_text_names_is_known() -> None:
    folders = ((ROOT / name).rglob("*") for name in ("docs", "scripts", "Dockerfiles", "factory/templates"))
    texts = [file.read_bytes().decode(errors="replace") for folder in folders for file in folder if file.is_file()]
    texts += [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", FILE_NAME)]
    named = {name for text in texts for name in re.findall(r"(?<![A-Z_])FACTORY_[A-Z0-9_]*[A-Z0-9]", text)}
    misspelt = {"FACTORY_BUDGET_TOTL"}  # an error that the documentation shows
    assert named - misspelt - variables(json_schema()).keys() == set(ProgramVariable)


def test_a_variable_at_odds_with_a_default_is_told_without_a_file(tmp_path: Path) -> None:
    assert faults(tmp_path, None, {"FACTORY_CONTRACT_CARGO_HOME": "/usr/local/cargo-build/home"}) == [
        "environment: contract.build_dir: /usr/local/cargo-build holds contract.cargo_home "
        "(/usr/local/cargo-build/home); choose a path beside it"
    ]


def test_a_variable_does_not_repair_a_table_that_is_none(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, "image: 5\n", {"FACTORY_IMAGE_NAME": "a/b"})
    assert (
        line == f'{FILE_NAME}:1:1: image: is 5, and keys are needed ({IMAGE_KEYS}); write "key: value" lines under it'
    )


# Where the file is


def test_the_path_given_wins_over_the_variable_and_the_directory(tmp_path: Path) -> None:
    for name, uid in (("a.yaml", 1), ("b.yaml", 2), (FILE_NAME, 3)):
        (tmp_path / name).write_text(f"user: {{uid: {uid}}}\n", encoding="utf-8")
    environ = {"FACTORY_CONFIG": "b.yaml"}
    given_path = load_configuration(Path("a.yaml"), environ=environ, start=tmp_path)
    assert (given_path.settings.user.uid, given_path.file) == (1, tmp_path / "a.yaml")
    named = load_configuration(None, environ=environ, start=tmp_path)
    assert (named.settings.user.uid, named.sources["user.uid"].where) == (2, "b.yaml:1")
    assert load_configuration(None, environ={"FACTORY_CONFIG": ""}, start=tmp_path).settings.user.uid == 3


def test_the_search_ends_at_the_root_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("user: {uid: 3}\n", encoding="utf-8")
    start = tmp_path / "repository" / "a" / "b"
    start.mkdir(parents=True)
    assert load(start).file is None
    (tmp_path / "repository" / ".git").mkdir()
    assert load(start).file is None
    (tmp_path / "repository" / FILE_NAME).write_text("user: {uid: 4}\n", encoding="utf-8")
    found = load(start)
    assert (found.settings.user.uid, found.folder) == (4, tmp_path / "repository")
    assert found.sources["user.uid"].where == f"{tmp_path / 'repository' / FILE_NAME}:1"
    (start.parent / FILE_NAME).write_text("user: {uid: 6}\n", encoding="utf-8")
    nearer = load(start)
    assert (nearer.settings.user.uid, nearer.sources["user.uid"].where) == (6, f"../{FILE_NAME}:1")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^no\.yaml: No such file"):
        load_configuration(Path("no.yaml"), environ={}, start=tmp_path)
    with pytest.raises(ConfigurationError, match=r"Is a directory"):
        load_configuration(tmp_path, environ={}, start=tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"user:\n  name: \xff\n")
    with pytest.raises(ConfigurationError, match=r"^registry-config\.yaml:2:9: not UTF-8"):
        load(tmp_path)


# What it shows


def test_show_has_a_row_for_every_key_with_its_source(tmp_path: Path) -> None:
    text = "image:\n  name: a/b\nsources:\n  - path: ./x\n"
    rows = show(load(tmp_path, text, {"FACTORY_USER_UID": "7"}))
    assert [key for key, _, _ in rows] == [leaf.key for leaf in leaves(json_schema())]
    assert ("image.name", "a/b", f"{FILE_NAME}:2") in rows
    assert ("image.registry", '""', "default") in rows
    assert ("user.uid", "7", "FACTORY_USER_UID") in rows
    assert ("budget.total", "2 GB", "default") in rows
    assert ("sources", '[{"path": "./x", "git": null, "ref": null, "builds": null}]', f"{FILE_NAME}:3") in rows


def test_the_schema_and_its_defaults_say_what_the_model_says() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    content: dict[str | int, Any] = {}
    for leaf in leaves(schema):
        table: dict[str | int, Any] = content
        for step in leaf.location[:-1]:
            table = table.setdefault(step, {})
        table[leaf.location[-1]] = leaf.default
        assert leaf.description.endswith((".", ";")), leaf.key
    assert Settings.model_validate_json(json.dumps(content)) == Settings()


def test_the_shipped_file_and_the_faults_agree_with_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(json_schema())
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(validator.iter_errors(YAML(typ="safe", pure=True).load(shipped(FILE_NAME)))) == []
    for name in ("unknown key", "toolchain as number", "platform", "platform twice", "empty list", "size without unit"):
        content = YAML(typ="safe", pure=True).load(ONE_FAULT[name][0])
        assert list(validator.iter_errors(content)), name


def test_the_documentation_has_every_key_and_real_messages() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    missing = [row for row in documented_rows() if row not in text]
    assert missing == []
    assert "\n".join(errors_of_the_documentation()) in text
    assert [name for name in ProgramVariable if f"`{name}`" not in text] == []


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1 B", 1),
        ("500 MB", 500_000_000),
        ("500MB", 500_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("0.1 kB", 100),
        ("1 KB", 1000),
        ("1.3 KiB", 1331),
        ("2 TiB", 2 * 1024**4),
        ("0.999999999 TB", 999_999_999_000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "1", "1.MB", ".5 MB", "-1 MB", "1e3 MB", "1 mb", "1  MB", "1 MB ", "1,5 MB", "٣ MB", "0.1 B"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"size"):
        parse_size(text)


@given(st.integers(min_value=1, max_value=10**15))
def test_a_size_comes_back_as_it_was(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(
    st.integers(min_value=1, max_value=999),
    st.integers(min_value=0, max_value=999),
    st.sampled_from(["kB", "MiB", "GB"]),
)
def test_a_larger_number_is_a_larger_size(whole: int, thousandths: int, unit: str) -> None:
    size = parse_size(f"{whole}.{thousandths:03} {unit}")
    assert parse_size(f"{whole} {unit}") <= size < parse_size(f"{whole + 1} {unit}")
    assert isinstance(size, int)


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 B"), (2_000_000_000, "2 GB"), (1536 * 1024**2, "1.5 GiB"), (1001, "1.001 kB"), (1_000_001, "1000.001 kB")],
)
def test_sizes_are_written_shortly(size: int, text: str) -> None:
    assert format_size(size) == text


# Shipped data


@pytest.mark.parametrize("name", ["profiles", "samples", "Dockerfiles", FILE_NAME])
def test_shipped_data_is_found_in_a_source_tree(name: str) -> None:
    assert shipped(name).exists()


def test_missing_data_is_a_broken_installation() -> None:
    with pytest.raises(FactoryError, match=r"missing from this installation") as caught:
        shipped("nothing")
    assert caught.value.exit_code == 70


# Registries, git and network


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registries: [{name: a, index: https://u:p@x.example/i}]", "the URL holds a user name or a password"),
        ("registries: [{name: a, index: sparse+https://u@x.example/}]", "the URL holds a user name or a password"),
        ("registries: [{name: a, index: sparse+https://x.example}]", "with the slash at its end"),
        (
            "registries: [{name: a, index: 'sparse+http://x.example/', token_env: T}]",
            "would send the token unencrypted",
        ),
        (
            "registries: [{name: a, index: 'https://x/', token_env: T, token_file: /t}]",
            "has both token_env and token_f",
        ),
        (
            "registries: [{name: a, index: 'https://x/', token_env: 'my token'}]",
            "write the name of a variable, not the",
        ),
        ("registries: [{name: a, index: 'https://x/', token_file: t}]", "write an absolute path"),
        ("registries: [{name: a-b, index: 'https://x/'}, {name: a_b, index: 'https://y/'}]", "two entries of one name"),
        ("registries: [{name: a, index: 'https://x/'}, {name: b, index: 'https://x/'}]", "two entries of one index"),
        ("git: [{url: 'ssh://git@x.example', token_env: T}]", "a token goes with an https URL"),
        ("git: [{url: 'https://x/a', token_env: T}, {url: 'https://x/b', token_env: T}]", "x has two tokens"),
        ("git: [{url: 'https://x/a'}, {url: 'https://x/a'}]", "https://x/a has two entries"),
        ("network: {mirror: https://x.example/index}", "write sparse+https://"),
        ("network: {proxy: 'http://me:secret@x.example:1'}", "the URL holds a user name or a password"),
        ("network: {retries: -1}", "retries"),
    ],
)
def test_access_that_would_not_work_or_not_be_safe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (line,) = faults(tmp_path, f"{text}\n")
    assert message in line
    assert "secret" not in line
    assert ":p@" not in line


def test_tokens_go_unencrypted_to_this_machine_only(tmp_path: Path) -> None:
    text = "registries: [{name: a, index: 'sparse+http://127.0.0.1:5/', token_env: T}]\ngit: [{url: 'https://x/'}]\n"
    settings = load(tmp_path, text).settings
    assert settings.registries[0].token_env == "T"  # noqa: S105 - the name of a variable
    assert settings.git[0].username == "x-access-token"
