"""Everything `registry-config.yaml` can say, as one frozen value: `Settings`.

The fields, their defaults and their descriptions are the only list of keys: the JSON Schema, the `FACTORY_*`
variables and the messages about unknown keys are derived from them.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from factory.cargo.variants import VARIANT_PATTERN, Variant
from factory.config.byte_sizes import SIZE_PATTERN, format_size, parse_size
from factory.config.quoting import quoted
from factory.platforms import Platform, machine_platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import ValidationInfo

T = TypeVar("T")


HIGHEST_GZIP_LEVEL = 9

OLDEST_TOOLCHAIN = (1, 85, 0)
"""The oldest release that the unit keys were tried with; before 1.91 the images share a target directory."""

# Taken from public Dockerfiles that pin the same tag (August 2026); `factory base --pin rust:<tag>` prints today's.
OFFICIAL_DIGESTS = {
    "rust:1.95.0-slim-bookworm": "sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082",
}

TAG_PLACEHOLDERS = ("layer", "rust", "date", "plan")
MINOR_PLACEHOLDER = "minor"
"""Stands for the first two parts of {rust}: images of 1.95.1 take `web-1.95` over from those of 1.95.0."""
ARCHITECTURE = "{arch}"
"""Stands in the tag of a base image for the architecture, where each platform has an image of its own."""
CELL_PLACEHOLDERS = ("suite", "label")
"""Filled in first, in the settings of a cell: see `factory.config.matrix`."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Text that matches `pattern` as a whole; `need` says in the message what is needed."""

    pattern: str
    need: str

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401 - pydantic's own signature
        handler: GetCoreSchemaHandler,
    ) -> core_schema.CoreSchema:
        """Check after pydantic has made sure that the value is text."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Give editors the same pattern."""
        return handler(schema) | {"pattern": f"^(?:{self.pattern})$"}

    def _check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            _refuse(f"{quoted(text)} does not fit; {self.need}")
        return text


def _refuse(message: str) -> None:
    raise ValueError(message)


def _size(value: object, info: ValidationInfo) -> object:
    # A number without a unit is fine in code and a trap in a file; files are validated as JSON.
    if info.mode == "json" and not isinstance(value, str):
        _refuse('a size needs a number and a unit; write it like "500 MB" or "1.5 GiB"')
    return parse_size(value) if isinstance(value, str) else value


def _some_names(values: tuple[str, ...]) -> tuple[str, ...]:
    # Not `min_length`: pydantic counts the valid items only, and would call a list of one bad item empty.
    if not values:
        _refuse("is empty; name at least one, or remove the key to get its default")
    twins = sorted({str(value) for value in values if values.count(value) > 1})
    if twins:
        _refuse(f"{', '.join(twins)} is listed twice; name each once")
    return values


def _some_variants(values: tuple[str, ...]) -> tuple[str, ...]:
    # `build:release` is `release`: written in one way, twins are seen and equal files give equal plans.
    return _some_names(tuple(str(Variant.parse(value)) for value in values))


def _in_order(platforms: tuple[Platform, ...]) -> tuple[Platform, ...]:
    # The order of the file means nothing: two files that say the same must give the same bytes everywhere.
    return tuple(platform for platform in Platform if platform in platforms)


def _tag(template: str) -> str:
    placeholders = (*TAG_PLACEHOLDERS, MINOR_PLACEHOLDER, *CELL_PLACEHOLDERS)
    unknown = sorted(set(re.findall(r"\{([^{}]*)\}", template)) - set(placeholders))
    known = ", ".join(f"{{{name}}}" for name in placeholders)
    if unknown:
        _refuse(f"{{{unknown[0]}}} is not a placeholder; use {known}")
    if "{layer}" not in template:
        _refuse(f"{quoted(template)} would be the same tag for every layer; put {{layer}} into it")
    if (
        re.fullmatch(
            r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
            _filled(_of_cell(template, "sid", "dev"), "x", "1.95.0", "20260101", "0"),
        )
        is None
    ):
        _refuse(f'{quoted(template)} does not make a tag; use letters, digits, "_", "." and "-" beside {known}')
    return template


def _of_cell(template: str, *values: str) -> str:
    for name, value in zip(CELL_PLACEHOLDERS, values, strict=True):
        template = template.replace(f"{{{name}}}", value)
    return template


def _filled(template: str, *values: str) -> str:
    filled = dict(zip(TAG_PLACEHOLDERS, values, strict=True))
    for name, value in (filled | {MINOR_PLACEHOLDER: _minor(filled["rust"])}).items():
        template = template.replace(f"{{{name}}}", value)
    return template


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _quoted_version(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        _refuse('a version without quotes is a number, and 1.80 is 1.8; quote it, all three parts, like "1.95.0"')
    return value


def _toolchain(version: str) -> str:
    if tuple(int(part) for part in version.split(".")) < OLDEST_TOOLCHAIN:
        oldest = ".".join(str(part) for part in OLDEST_TOOLCHAIN)
        _refuse(f"{version} is too old: unit keys are known from {oldest} on; take a newer one")
    return version


def _path(path: str) -> str:
    if path == "/" or posixpath.normpath(path) != path or path.startswith("//"):
        _refuse(f'{quoted(path)} is not a plain path; write it without "..", "." or double slashes, and below /')
    return path


def _not_root(name: str) -> str:
    if name == "root":
        _refuse("root is there already, and caches that root owns are the trouble to avoid; name another user")
    return name


def _rustflag(flag: str) -> str:
    if re.search(r"\s", flag):
        words = ", ".join(f'"{word}"' for word in flag.split())
        _refuse(f"{quoted(flag)} would reach rustc as one argument; list its words: [{words}]")
    return flag


def _variant(text: str) -> str:
    Variant.parse(text)
    return text


def _base_reference(reference: str) -> str:
    if ARCHITECTURE in reference and "@" in reference:
        _refuse(f"{quoted(reference)} is pinned to one image; leave out {ARCHITECTURE} or the digest")
    return reference


def _git_url(url: str) -> str:
    if re.match(r"https?://[^/]*@|[a-z+]+://[^/]*:[^/]*@", url):
        # The message must not repeat it.
        _refuse("the URL holds a user name or a password; leave them out and use git's credential helper or ssh")
    # `ext::` and other helpers run commands, and a leading dash is an option: only what only fetches passes.
    if re.fullmatch(r"(https?|ssh|git|file)://[^\s]+|[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^\s]+", url) is None:
        _refuse(f"{quoted(url)} is not a git URL; write https://…, ssh://…, git://…, file://… or user@host:path")
    return url


def _no_password(url: str) -> str:
    if re.match(r"(?:sparse\+)?https?://[^/]*@|[a-z0-9+]+://[^/]*:[^/]*@", url):
        # The message must not repeat it.
        _refuse(
            "the URL holds a user name or a password; leave them out, docs/private-sources.md says where to put them"
        )
    return url


_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = rf"(?:localhost|{_HOST}(?:\.{_HOST})+)(?::[0-9]{{1,5}})?|{_HOST}:[0-9]{{1,5}}"
_REPOSITORY_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_REPOSITORY_PART}(?:/{_REPOSITORY_PART})*"
_TAG = r"(?:[A-Za-z0-9_]|\{arch\})(?:[A-Za-z0-9_.-]|\{arch\}){0,127}"
_REFERENCE = rf"(?:(?:{_REGISTRY})/)?{_REPOSITORY}(?::{_TAG})?(?:@sha256:[0-9a-f]{{64}})?"

Size = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(format_size, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{SIZE_PATTERN})$"}),
]
"""Bytes; written as text with a unit."""

Registry = Annotated[
    str,
    Matches(rf"(?:{_REGISTRY})?", "write a host like ghcr.io or localhost:5000, the rest belongs in image.name"),
]
Repository = Annotated[str, Field(max_length=200), Matches(_REPOSITORY, "write lower-case parts like org/rust-builder")]
TagTemplate = Annotated[str, AfterValidator(_tag)]
Reference = Annotated[
    str,
    Matches(_REFERENCE, "write an image reference like rust:1.95.0-slim-bookworm@sha256:…"),
    AfterValidator(_base_reference),
]
Suite = Annotated[str, Matches(r"[a-z][a-z0-9-]*", "write the name of a Debian suite, like bookworm")]
ToolchainVersion = Annotated[
    str,
    BeforeValidator(_quoted_version, json_schema_input_type=str),
    Matches(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}", 'write all three numbers of a release, like "1.95.0"'),
    AfterValidator(_toolchain),
]
Label = Annotated[str, Matches(r"(?:[a-z0-9][a-z0-9-]{0,31})?", "write lower-case letters, digits and -, like dev")]
UserName = Annotated[
    str,
    Matches(r"[a-z_][a-z0-9_-]{0,31}", "write a user name of lower-case letters, digits, _ and -"),
    AfterValidator(_not_root),
]
ContainerPath = Annotated[
    str,
    Matches(r"/[A-Za-z0-9._/-]*", "write an absolute path of letters, digits, '.', '_', '-' and '/'"),
    AfterValidator(_path),
]
RustFlag = Annotated[str, Matches(r"\S[^\x00-\x1f\x7f]*", "write one argument of rustc"), AfterValidator(_rustflag)]
VariantText = Annotated[str, AfterValidator(_variant), Field(json_schema_extra={"pattern": f"^(?:{VARIANT_PATTERN})$"})]
ToolVersion = Annotated[
    str,
    BeforeValidator(_quoted_version, json_schema_input_type=str),
    Matches(
        r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?",
        'write one exact version, like "0.1.77", or null for none',
    ),
]
GitRef = Annotated[str, Matches(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*", "write a branch, a tag or a commit, without blanks")]
LocalPath = Annotated[str, Matches(r"[^\x00-\x1f\x7f]+", "write a path")]
GitUrl = Annotated[str, AfterValidator(_git_url)]
WebAddress = Annotated[str, Matches(r"(?:https?://[^\s@]+)?", "write a URL like https://github.com/org/images")]
Revision = Annotated[str, Matches(r"(?:[A-Za-z0-9][A-Za-z0-9._/-]{0,199})?", "write a commit or a tag")]
AbsolutePath = Annotated[str, Matches(r"/[^\x00-\x1f\x7f]+", "write an absolute path")]
VariableName = Annotated[str, Matches(r"[A-Za-z_][A-Za-z0-9_]*", "write the name of a variable, not the token")]
RegistryName = Annotated[str, Matches(r"[A-Za-z0-9_-]+", "write a name of letters, digits, _ and -")]
IndexUrl = Annotated[
    str,
    AfterValidator(_no_password),
    Matches(
        r"sparse\+https?://\S+/|(?:https?|ssh|git|file)://\S+", "write sparse+https://…/, with the slash at its end"
    ),
]
MirrorUrl = Annotated[
    str,
    AfterValidator(_no_password),
    Matches(r"sparse\+https?://\S+/", "write sparse+https://…/, with the slash at its end"),
]
ProxyUrl = Annotated[str, AfterValidator(_no_password), Matches(r"(?:https?|socks5h?)://\S+", "write http://host:port")]
CacheRepository = Annotated[
    str,
    Matches(rf"(?:(?:{_REGISTRY})/)?{_REPOSITORY}", "write a repository without a tag, like ghcr.io/org/rust-cache"),
]
CacheFolder = Annotated[str, Matches(r'[^\x00-\x1f\x7f,"]+', "write a path without commas and quotes")]
CacheWord = Annotated[str, Matches(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "write letters, digits, '.', '_' and '-'")]
CachePrefix = Annotated[str, Matches(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", "write a path like rust-builder/")]
Endpoint = Annotated[str, AfterValidator(_no_password), Matches(r"https?://[^\s,@]+", "write https://host:port")]
SigningKey = Annotated[str, Matches(r"[^\x00-\x20\x7f-][^\x00-\x1f\x7f]*", "write a path or a KMS URI")]
WholeId = Annotated[int, Field(ge=0, le=2_147_483_647)]
Seconds = Annotated[int, Field(ge=1, le=604_800)]


_NAMES = Field(json_schema_extra={"minItems": 1, "uniqueItems": True})


class StrictModel(BaseModel):
    """A part of a file: unknown keys and values of another type are errors, and the result cannot change."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ImageSettings(StrictModel):
    """What the images are called."""

    registry: Registry = Field("", description="Host of the container registry; empty for Docker Hub or local images.")
    name: Repository = Field("org/rust-builder", description="Repository of the images; the layers differ by tag.")
    tags: Annotated[tuple[TagTemplate, ...], _NAMES, AfterValidator(_some_names)] = Field(
        ("{layer}", "{layer}-{rust}"),
        description=(
            "Tags of an image, with {layer}, {rust}, {minor} (1.95), {suite}, {label}, {date} (YYYYMMDD), {plan} "
            "(digest)."
        ),
    )
    compression: Literal["gzip", "zstd"] = Field(
        "gzip", description="How new layers are compressed: gzip, which everything reads, or zstd."
    )
    compression_level: Annotated[int, Field(ge=0, le=22)] | None = Field(
        None,
        validate_default=True,
        description="Level of the compression: 0 to 9 for gzip, 0 to 22 for zstd; null for the builder's own.",
    )

    @field_validator("compression_level")
    @classmethod
    def _level_of_gzip(cls, level: int | None, info: ValidationInfo) -> int | None:
        if level is not None and level > HIGHEST_GZIP_LEVEL and info.data.get("compression") == "gzip":
            _refuse(f"gzip has no level {level}; choose 0 to {HIGHEST_GZIP_LEVEL}, or zstd")
        return level

    source: WebAddress = Field("", description="URL of the repository with this file, for the label of that name.")
    revision: Revision = Field(
        "", description="Its commit, for the label of that name; with one, every commit makes other images."
    )

    @property
    def repository(self) -> str:
        """The repository with its registry, as `docker pull` wants it."""
        return f"{self.registry}/{self.name}" if self.registry else self.name

    def tags_of(self, *, layer: str, rust: str, date: str, plan: str) -> tuple[str, ...]:
        """Return the tags of one image, in the order of the templates, each once."""
        return tuple(dict.fromkeys(_filled(template, layer, rust, date, plan) for template in self.tags))

    def dated_tags_of(self, *, layer: str, rust: str, date: str, plan: str) -> tuple[str, ...]:
        """Return the tags that stay with one build: those with {date} or {plan}."""
        moving = self.moving_tags_of(layer=layer, rust=rust)
        return tuple(tag for tag in self.tags_of(layer=layer, rust=rust, date=date, plan=plan) if tag not in moving)

    def moving_tags_of(self, *, layer: str, rust: str) -> tuple[str, ...]:
        """Return the tags that the next build of a layer takes over: those without {date} and {plan}."""
        moving = [template for template in self.tags if "{date}" not in template and "{plan}" not in template]
        return tuple(dict.fromkeys(_filled(template, layer, rust, "", "") for template in moving))


class BaseSettings(StrictModel):
    """What the lowest layer stands on."""

    image: Reference | None = Field(
        None,
        description=(
            "Base image, as name:tag@sha256:…; null for the official `rust:<toolchain>-slim-<suite>`. {arch} in its "
            "tag is amd64 or arm64, by platform."
        ),
    )
    suite: Suite = Field("bookworm", description="Debian suite of the official image, or of a base made here.")
    install_packages: bool = Field(
        True, description="Install the Debian packages that units need; false where the base image has them all."
    )
    apt_sources: LocalPath | None = Field(
        None, description="File of apt sources to install packages from; null for the base image's own."
    )


class MatrixRow(StrictModel):
    """One toolchain on one suite; what a row does not say is said by `toolchain`, `base.suite`, `cook.variants`."""

    toolchain: ToolchainVersion | None = Field(None, description="Rust release of the row; quote it.")
    suite: Suite | None = Field(None, description="Debian suite of the row.")
    image: Reference | None = Field(None, description="Base image of the row; null for the official one.")
    variants: Annotated[tuple[VariantText, ...], _NAMES, AfterValidator(_some_variants)] | None = Field(
        None, description="Builds to compile for in the row's images; null for those of cook.variants."
    )
    label: Label = Field("", description="What {label} in a tag stands for; only rows with one have such tags.")


class UserSettings(StrictModel):
    """The user that builds in the images and owns their caches."""

    name: UserName = Field("runner", description="Name of the user.")
    uid: Annotated[int, Field(ge=1, le=2_147_483_647)] = Field(1001, description="User id; 1001 is GitHub's.")
    gid: WholeId = Field(1001, description="Id of the group that may write the caches; 0 for OpenShift.")


class ContractSettings(StrictModel):
    """The surroundings in which cooked units stay fresh; a change makes every unit new."""

    cargo_home: ContainerPath = Field("/usr/local/cargo", description="CARGO_HOME in the images.")
    build_dir: ContainerPath = Field(
        "/usr/local/cargo-build",
        validate_default=True,
        description="Where the cooked units are: cargo's `build.build-dir`, before 1.91 its `build.target-dir`.",
    )
    rustflags: tuple[RustFlag, ...] = Field((), description="RUSTFLAGS of the images, one argument an item.")

    @field_validator("build_dir")
    @classmethod
    def _apart(cls, build_dir: str, info: ValidationInfo) -> str:
        home = info.data.get("cargo_home")
        if home is not None and f"{build_dir}/".startswith(f"{home}/"):
            _refuse(f"{build_dir} lies in contract.cargo_home ({home}); choose a path outside of it")
        if home is not None and home.startswith(f"{build_dir}/"):
            _refuse(f"{build_dir} holds contract.cargo_home ({home}); choose a path beside it")
        return build_dir


class BudgetSettings(StrictModel):
    """How much the images may weigh, unpacked."""

    total: Size = Field(
        parse_size("2 GB"),
        description='Cooked units of all layers together, like "2 GB".',
        json_schema_extra={"default": "2 GB"},
    )
    safety_percent: Annotated[int, Field(ge=0, le=90)] = Field(
        20,
        description="Part of every budget that the plan leaves free, as sizes are estimates before the cook.",
    )

    def plannable(self, size: int) -> int:
        """Return how many of `size` bytes a plan that goes by estimates may fill."""
        return size * (100 - self.safety_percent) // 100

    def whole(self, plannable: int) -> int:
        """Return the budget of which a plan may fill `plannable` bytes: what the cooked layer may weigh."""
        return -(-plannable * 100 // (100 - self.safety_percent))


class WorthSettings(StrictModel):
    """What it is worth to have a unit compiled."""

    jobs: Annotated[int, Field(ge=1, le=4096)] = Field(
        4, description="Parallel jobs of the machines that will build on the images; GitHub's runners have 4."
    )
    builds: Literal["equal", "history"] = Field(
        "equal",
        description="How often repositories are built: equal, or history for what their git histories tell.",
    )
    unseen_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        90, description="How much the plan looks to repositories like these which nobody analyses, against these."
    )


class BaselineSettings(StrictModel):
    """The versions, features and cargo profile that repositories are asked to meet at."""

    min_repos: Annotated[int, Field(ge=2, le=10_000)] = Field(
        2,
        description="Repositories that have to use a feature, or all that use the crate, before it is in the baseline.",
    )
    msrv_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        80, description="Part of a crate's repositories whose rust-version has to allow the version that is taken."
    )
    growth_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        10,
        description="How much larger features that bring crates may make a repository's graph; 0 for no such features.",
    )
    adopt_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        50,
        description="How much a repository at the baseline counts beside itself as it is: factory plan --aligned.",
    )


def _store_address(url: str) -> str:
    # Not shown: it may be a password that does not fit.
    if re.search(r"://[^/?#]*:[^/?#]*@|[?&]password=", url):
        _refuse("holds a password; leave it out, and put it in PGPASSWORD or in ~/.pgpass")
    if re.fullmatch(r"sqlite:///.+|postgres(?:ql)?://.+", url) is None:
        _refuse("is no address of a store; write sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    return url


class CostSettings(StrictModel):
    """Measured costs of units, which plans go by."""

    record: bool = Field(True, description="Measure in every cook what each unit takes and weighs, and keep it.")
    url: Annotated[str, AfterValidator(_store_address)] | None = Field(
        None,
        description="Where: sqlite:///PATH, or postgresql://USER@HOST/DATABASE; null for a file of this user.",
    )


class CookSettings(StrictModel):
    """What is compiled."""

    variants: Annotated[tuple[VariantText, ...], _NAMES, AfterValidator(_some_variants)] = Field(
        ("release",),
        description="Builds to compile for: [check:, check-all: or test:]PROFILE[@TRIPLE], like release or check:dev.",
    )

    @property
    def parsed_variants(self) -> tuple[Variant, ...]:
        """The variants, in the order of the file."""
        return tuple(Variant.parse(text) for text in self.variants)

    @property
    def targets(self) -> tuple[str, ...]:
        """The target triples that variants name, sorted, each once."""
        return tuple(sorted({variant.target for variant in self.parsed_variants if variant.target is not None}))


class RepositorySource(StrictModel):
    """Repositories to analyse when the command line names none: a path, or a git URL."""

    path: LocalPath | None = Field(None, description="Directory; relative to this file.")
    git: GitUrl | None = Field(None, description="URL of a git repository.")
    ref: GitRef | None = Field(None, description="Branch, tag or commit; null for the default branch.")
    builds: Annotated[float, Field(ge=0, le=1_000_000, strict=False)] | None = Field(
        None, description="How often it is built, compared with the others; null for what worth.builds says."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.path is None) == (self.git is None):
            _refuse("needs exactly one of path and git; keep one of them")
        if self.ref is not None and self.git is None:
            _refuse("ref goes with git only; remove it, or name the repository by git")
        return self


class RegistrySettings(StrictModel):
    """A registry beside crates.io whose crates are cooked, and where its token is, if it wants one."""

    name: RegistryName = Field(description="The name that repositories use for it.")
    index: IndexUrl = Field(description="URL of its index, as in Cargo.lock: sparse+https://…/ or that of a git index.")
    token_env: VariableName | None = Field(None, description="Name of the variable that holds the token.")
    token_file: AbsolutePath | None = Field(None, description="File that holds the token.")

    @model_validator(mode="after")
    def _one_safe_token(self) -> Self:
        _one_token(self.token_env, self.token_file, self.index)
        return self


class GitAccessSettings(StrictModel):
    """A git host, a folder of it or a repository whose crates are cooked, and where its token is, if it wants one."""

    url: GitUrl = Field(description="What the URLs of its repositories begin with.")
    username: Annotated[str, Matches(r"[^\s:@/]+", "write a user name without blanks")] = Field(
        "x-access-token", description="User name that goes with the token."
    )
    token_env: VariableName | None = Field(None, description="Name of the variable that holds the token.")
    token_file: AbsolutePath | None = Field(None, description="File that holds the token.")

    @model_validator(mode="after")
    def _one_safe_token(self) -> Self:
        _one_token(self.token_env, self.token_file, self.url)
        if (self.token_env or self.token_file) and not self.url.startswith(("https://", "http://")):
            _refuse("a token goes with an https URL; remove it, or write the URL with https://")
        return self


class NetworkSettings(StrictModel):
    """How the step that fetches reaches the outside; nothing of it stays in the images."""

    mirror: MirrorUrl | None = Field(
        None, description="Sparse index of a mirror of crates.io; null for what this machine's cargo is set to."
    )
    proxy: ProxyUrl | None = Field(
        None, description="Proxy for http and https; null for the usual variables, such as https_proxy."
    )
    ca_bundle: AbsolutePath | None = Field(
        None, description="File of trusted certificates; null for what SSL_CERT_FILE or CARGO_HTTP_CAINFO name."
    )
    retries: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="How often cargo tries a download again; null for cargo's own number."
    )


def _one_token(variable: str | None, file: str | None, url: str) -> None:
    if variable is not None and file is not None:
        _refuse("has both token_env and token_file; keep one of them")
    parts = urlsplit(url.removeprefix("sparse+"))
    if (variable or file) and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        _refuse("would send the token unencrypted; write the URL with https://")


def _apart_by(values: tuple[T, ...], key: Callable[[T], str | None], what: str) -> tuple[T, ...]:
    found = [name for name in map(key, values) if name is not None]
    twins = sorted({name for name in found if found.count(name) > 1})
    if twins:
        _refuse(f"{twins[0]} has {what}; keep one")
    return values


def _unlike(registries: tuple[RegistrySettings, ...]) -> tuple[RegistrySettings, ...]:
    # Cargo takes `-`, `.` and `_` in a name for the same where it looks for a variable.
    _apart_by(registries, lambda each: re.sub(r"[-.]", "_", each.name).upper(), "two entries of one name")
    return _apart_by(registries, lambda each: each.index, "two entries of one index")


def _one_token_each(hosts: tuple[GitAccessSettings, ...]) -> tuple[GitAccessSettings, ...]:
    # Git gives a credential helper no more than the host.
    with_token = [each for each in hosts if each.token_env or each.token_file]
    _apart_by(tuple(with_token), lambda each: urlsplit(each.url).netloc, "two tokens")
    return _apart_by(hosts, lambda each: each.url, "two entries")


class ToolSettings(StrictModel):
    """Tools to install into the images: an exact version, or null for none."""

    cargo_chef: ToolVersion | None = Field(None, alias="cargo-chef", description="Version of cargo-chef.")
    sccache: ToolVersion | None = Field(None, description="Version of sccache.")
    cargo_nextest: ToolVersion | None = Field(None, alias="cargo-nextest", description="Version of cargo-nextest.")


class PushSettings(StrictModel):
    """How images get into the registry."""

    attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        5, description="How often in all is tried what the registry does not answer; what it refuses is not repeated."
    )
    timeout: Seconds = Field(3600, description="Seconds that one upload may take.")
    sign: Literal["none", "key", "keyless"] = Field(
        "none", description="Sign every index with cosign, by a key or by the identity of a CI job (keyless)."
    )
    key: SigningKey | None = Field(
        None, validate_default=True, description="The private key for `sign: key`: a file, or a URI like awskms:///…."
    )

    @field_validator("key")
    @classmethod
    def _key_for_sign(cls, key: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("sign") == "key" and key is None:
            _refuse("is needed for push.sign: key; name the file that `cosign generate-key-pair` wrote, or a KMS URI")
        return key


CACHE_KEYS = {
    "ref": "registry",
    "folder": "local",
    "scope": "gha",
    "bucket": "s3",
    "region": "s3",
    "prefix": "s3",
    "endpoint": "s3",
}
"""The type of build cache that each key belongs to."""


class BuildCacheSettings(StrictModel):
    """Where builders that come and go keep what layers cooked."""

    type: Literal["none", "registry", "gha", "inline", "local", "s3"] = Field(
        "none", description="Where the steps of a build are kept for other builders: docs/build-cache.md."
    )
    write: bool = Field(True, description="Write to it as well; false where it is only read, as for pull requests.")
    ref: CacheRepository | None = Field(
        None, description="registry: the repository of the cache; null for that of the images with -cache behind it."
    )
    folder: CacheFolder | None = Field(None, validate_default=True, description="local: the directory of the cache.")
    scope: CacheWord | None = Field(
        None, description="gha: what its entries begin with, where one repository has several configurations."
    )
    bucket: CacheWord | None = Field(None, validate_default=True, description="s3: the bucket.")
    region: CacheWord | None = Field(None, validate_default=True, description="s3: its region.")
    prefix: CachePrefix | None = Field(None, description="s3: what its keys begin with, like rust-builder/.")
    endpoint: Endpoint | None = Field(None, description="s3: URL of a service that is not Amazon's.")

    @field_validator(*CACHE_KEYS)
    @classmethod
    def _of_its_type(cls, value: str | None, info: ValidationInfo) -> str | None:
        chosen, owner = info.data.get("type"), CACHE_KEYS[str(info.field_name)]
        if value is not None and chosen not in (None, owner):
            _refuse(f"is for build_cache.type: {owner}, and that is {chosen}; remove it, or change the type")
        if value is None and chosen == owner and info.field_name in ("folder", "bucket", "region"):
            _refuse(f"is needed for build_cache.type: {owner}; write it, or set the type to none")
        return value


class PruneSettings(StrictModel):
    """Which of the pushed images `factory prune` leaves; what a moving tag stands for always stays."""

    keep: Annotated[int, Field(ge=1, le=10_000)] = Field(
        5, description="How many of the newest pushes of each layer and toolchain stay, however old they are."
    )
    days: Annotated[int, Field(ge=2, le=36_500)] = Field(
        30, description="Whatever was pushed within as many days stays; two at least, as other pushes may be under way."
    )


class LimitSettings(StrictModel):
    """How much of this machine, and how long."""

    jobs: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="Parallel jobs, in cooks too; null for one a processor."
    )
    resolve_timeout: Seconds = Field(300, description="Seconds that cargo may take to resolve one workspace.")
    cook_timeout: Seconds = Field(7200, description="Seconds that the cook of one layer may take.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRow:
    """A row of the matrix with nothing left open; `image` is `None` for the official one."""

    toolchain: str
    suite: str
    image: str | None
    variants: tuple[str, ...]
    label: str

    @property
    def name(self) -> str:
        """The name of the row, of which its files have theirs."""
        return "-".join(filter(None, (self.toolchain, self.suite, self.label)))


class Settings(StrictModel):
    """The whole configuration of a run."""

    schema_version: Literal[1] = Field(1, alias="schema", description="Version of this file's format.")
    image: ImageSettings = Field(default_factory=ImageSettings)
    platforms: Annotated[tuple[Platform, ...], _NAMES, AfterValidator(_some_names), AfterValidator(_in_order)] = Field(
        (Platform.LINUX_AMD64,), description="Platforms to build the images for."
    )
    base: BaseSettings = Field(default_factory=BaseSettings)
    toolchain: ToolchainVersion = Field("1.95.0", description="Rust release in the images; quote it.")
    matrix: tuple[MatrixRow, ...] = Field(
        (), description="Toolchains and suites that images are built for, each with its own tags; empty for one."
    )
    user: UserSettings = Field(default_factory=UserSettings)
    contract: ContractSettings = Field(default_factory=ContractSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    worth: WorthSettings = Field(default_factory=WorthSettings)
    baseline: BaselineSettings = Field(default_factory=BaselineSettings)
    costs: CostSettings = Field(default_factory=CostSettings)
    cook: CookSettings = Field(default_factory=CookSettings)
    sources: tuple[RepositorySource, ...] = Field(
        (), description="Repositories to analyse when the command line names none."
    )
    registries: Annotated[tuple[RegistrySettings, ...], AfterValidator(_unlike)] = Field(
        (), description="Registries beside crates.io whose crates are cooked."
    )
    git: Annotated[tuple[GitAccessSettings, ...], AfterValidator(_one_token_each)] = Field(
        (), description="Git hosts, folders or repositories whose crates are cooked."
    )
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    tools: ToolSettings = Field(default_factory=ToolSettings)
    build_cache: BuildCacheSettings = Field(default_factory=BuildCacheSettings)
    push: PushSettings = Field(default_factory=PushSettings)
    prune: PruneSettings = Field(default_factory=PruneSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)

    @property
    def rows(self) -> tuple[WholeRow, ...]:
        """The rows of the matrix, whole."""
        return tuple(
            WholeRow(
                toolchain=row.toolchain or self.toolchain,
                suite=row.suite or self.base.suite,
                image=row.image,
                variants=row.variants or self.cook.variants,
                label=row.label,
            )
            for row in self.matrix
        )

    @property
    def own_tags(self) -> tuple[tuple[str, ...], ...]:
        """For each row of the matrix its tags that no earlier row has, with {suite} and {label} filled in.

        Tags with a {label} are those of the rows that have one.
        """
        taken: set[str] = set()
        found = []
        for row in self.rows:
            mine = (tag for tag in self.image.tags if ("{label}" in tag) == bool(row.label))
            named = dict.fromkeys(_of_cell(tag, row.suite, row.label) for tag in mine)
            tags = {tag: _filled(tag, "{layer}", row.toolchain, "{date}", "{plan}") for tag in named}
            # Rows never have a plan in common, and so no tag with its digest.
            found.append(tuple(tag for tag, filled in tags.items() if filled not in taken or "{plan}" in tag))
            taken.update(tags.values())
        return tuple(found)

    def of_row(self, row: WholeRow) -> Settings:
        """Return the settings with what a row of the matrix says in the places of the common values."""
        base = self.base.model_copy(update={"suite": row.suite, "image": row.image})
        cook = self.cook.model_copy(update={"variants": row.variants})
        return self.model_copy(update={"toolchain": row.toolchain, "base": base, "cook": cook})

    @property
    def common_tags(self) -> tuple[str, ...]:
        """The tags where there is no matrix, with {suite} filled in."""
        tags = (tag for tag in self.image.tags if "{label}" not in tag)
        return tuple(dict.fromkeys(_of_cell(tag, self.base.suite, "") for tag in tags))

    @model_validator(mode="after")
    def _distinct_rows(self) -> Self:
        if not self.matrix and not self.common_tags:
            _refuse("image.tags: {label} is for the rows of a matrix; write a tag without it")
        names = [row.name for row in self.rows]
        twins = sorted({name for name in names if names.count(name) > 1})
        if twins:
            _refuse(f"matrix: {', '.join(twins)} is there twice; name each once, or give them a label")
        tagless = [name for name, tags in zip(names, self.own_tags, strict=True) if not tags]
        if tagless:
            wanted = "{rust}, {suite} or {label}"
            _refuse(f"matrix: {', '.join(tagless)} has no tag of its own; put {wanted} into one of image.tags")
        if names and self.base.image is not None:
            _refuse("matrix: base.image is one image, and every row has its own; set the `image` of the rows instead")
        return self

    @model_validator(mode="after")
    def _reachable_cache(self) -> Self:
        kind = self.build_cache.type
        if kind == "registry" and self.build_cache.ref is None and not self.image.registry:
            _refuse("build_cache.ref: image.registry is empty, so there is no repository beside it; write one")
        if kind == "inline" and not self.image.registry:
            _refuse("build_cache.type: inline is read from the pushed images; name their host in image.registry")
        if kind == "inline" and not self.image.moving_tags_of(layer="", rust=self.toolchain):
            _refuse("build_cache.type: inline is read by a tag without {date} and {plan}; put one into image.tags")
        return self

    @property
    def base_image(self) -> str:
        """The reference of the base image: the one that is named, else the official one, pinned where we know how."""
        official = f"rust:{self.toolchain}-slim-{self.base.suite}"
        digest = OFFICIAL_DIGESTS.get(official)
        return self.base.image or (f"{official}@{digest}" if digest else official)

    def of_platform(self, platform: Platform | None) -> Settings:
        """Return the settings with {arch} of the base image filled in; `None` is this machine's platform."""
        named, chosen = self.base.image, platform or machine_platform()
        if named is None or ARCHITECTURE not in named:
            return self
        if chosen is None:
            # Nothing is built for this machine: what needs a base image says so.
            return self
        base = self.base.model_copy(update={"image": named.replace(ARCHITECTURE, chosen.architecture)})
        return self.model_copy(update={"base": base})


def has_digest(reference: str) -> bool:
    """Whether an image reference is pinned, so that it always means the same image."""
    return "@sha256:" in reference
