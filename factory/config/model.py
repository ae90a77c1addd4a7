"""Everything `registry-config.yaml` can say, as one frozen value: `Settings`.

The fields, their defaults and their descriptions are the only list of keys: the JSON Schema, the `FACTORY_*`
variables and the messages about unknown keys are derived from them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from factory.cargo.variants import Variant
from factory.config.byte_sizes import parse_size
from factory.config.matrix import WholeCell, check_cells, common_tags
from factory.config.tag_templates import TagTemplates, fill
from factory.config.texts import (
    ARCHITECTURE,
    AbsolutePath,
    CacheFolder,
    CachePrefix,
    CacheRepository,
    CacheWord,
    ContainerPath,
    Endpoint,
    GitRef,
    GitUrl,
    IndexUrl,
    Label,
    LocalPath,
    Matches,
    MirrorUrl,
    Platforms,
    ProxyUrl,
    Reference,
    Registry,
    RegistryName,
    Repository,
    Revision,
    RustFlag,
    Seconds,
    SigningKey,
    Size,
    StoreAddress,
    Suite,
    ToolchainVersion,
    ToolVersion,
    UserName,
    VariableName,
    Variants,
    WebAddress,
    WholeId,
    refuse,
)
from factory.platforms import Platform, machine_platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import ValidationInfo

T = TypeVar("T")

HIGHEST_GZIP_LEVEL = 9

# Taken from public Dockerfiles that pin the same tag (August 2026); `factory base --pin rust:<tag>` prints today's.
OFFICIAL_DIGESTS = {
    "rust:1.95.0-slim-bookworm": "sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082",
}


class StrictModel(BaseModel):
    """A part of a file: unknown keys and values of another type are errors, and the result cannot change."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ImageSettings(StrictModel):
    """What the images are called."""

    registry: Registry = Field("", description="Host of the container registry; empty for Docker Hub or local images.")
    name: Repository = Field("org/rust-builder", description="Repository of the images; the layers differ by tag.")
    tags: TagTemplates = Field(
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
            refuse(f"gzip has no level {level}; choose 0 to {HIGHEST_GZIP_LEVEL}, or zstd")
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
        return tuple(
            dict.fromkeys(fill(template, layer=layer, rust=rust, date=date, plan=plan) for template in self.tags)
        )

    def dated_tags_of(self, *, layer: str, rust: str, date: str, plan: str) -> tuple[str, ...]:
        """Return the tags that stay with one build: those with {date} or {plan}."""
        moving = self.moving_tags_of(layer=layer, rust=rust)
        return tuple(tag for tag in self.tags_of(layer=layer, rust=rust, date=date, plan=plan) if tag not in moving)

    def moving_tags_of(self, *, layer: str, rust: str) -> tuple[str, ...]:
        """Return the tags that the next build of a layer takes over: those without {date} and {plan}."""
        moving = [template for template in self.tags if "{date}" not in template and "{plan}" not in template]
        return tuple(dict.fromkeys(fill(template, layer=layer, rust=rust, date="", plan="") for template in moving))


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


class MatrixCell(StrictModel):
    """One toolchain on one suite; what a cell does not say is said by `toolchain`, `base.suite`, `cook.variants`."""

    toolchain: ToolchainVersion | None = Field(None, description="Rust release of the cell; quote it.")
    suite: Suite | None = Field(None, description="Debian suite of the cell.")
    image: Reference | None = Field(None, description="Base image of the cell; null for the official one.")
    variants: Variants | None = Field(
        None, description="Builds to compile for in the cell's images; null for those of cook.variants."
    )
    label: Label = Field("", description="What {label} in a tag stands for; only cells with one have such tags.")


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
            refuse(f"{build_dir} lies in contract.cargo_home ({home}); choose a path outside of it")
        if home is not None and home.startswith(f"{build_dir}/"):
            refuse(f"{build_dir} holds contract.cargo_home ({home}); choose a path beside it")
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


class CostSettings(StrictModel):
    """Measured costs of units, which plans go by."""

    record: bool = Field(True, description="Measure in every cook what each unit takes and weighs, and keep it.")
    url: StoreAddress | None = Field(
        None,
        description="Where: sqlite:///PATH, or postgresql://USER@HOST/DATABASE; null for a file of this user.",
    )


class CookSettings(StrictModel):
    """What is compiled."""

    variants: Variants = Field(
        ("release",),
        description="Builds to compile for: [check:, check-all: or test:]PROFILE[+workspace][+all-features][@TRIPLE].",
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
            refuse("needs exactly one of path and git; keep one of them")
        if self.ref is not None and self.git is None:
            refuse("ref goes with git only; remove it, or name the repository by git")
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
            refuse("a token goes with an https URL; remove it, or write the URL with https://")
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
        refuse("has both token_env and token_file; keep one of them")
    parts = urlsplit(url.removeprefix("sparse+"))
    if (variable or file) and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        refuse("would send the token unencrypted; write the URL with https://")


def _apart_by(values: tuple[T, ...], key: Callable[[T], str | None], what: str) -> tuple[T, ...]:
    found = [name for name in map(key, values) if name is not None]
    twins = sorted({name for name in found if found.count(name) > 1})
    if twins:
        refuse(f"{twins[0]} has {what}; keep one")
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
            refuse("is needed for push.sign: key; name the file that `cosign generate-key-pair` wrote, or a KMS URI")
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
            refuse(f"is for build_cache.type: {owner}, and that is {chosen}; remove it, or change the type")
        if value is None and chosen == owner and info.field_name in ("folder", "bucket", "region"):
            refuse(f"is needed for build_cache.type: {owner}; write it, or set the type to none")
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


class Settings(StrictModel):
    """The whole configuration of a run."""

    schema_version: Literal[1] = Field(1, alias="schema", description="Version of this file's format.")
    image: ImageSettings = Field(default_factory=ImageSettings)
    platforms: Platforms = Field((Platform.LINUX_AMD64,), description="Platforms to build the images for.")
    base: BaseSettings = Field(default_factory=BaseSettings)
    toolchain: ToolchainVersion = Field("1.95.0", description="Rust release in the images; quote it.")
    matrix: tuple[MatrixCell, ...] = Field(
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
    def whole_cells(self) -> tuple[WholeCell, ...]:
        """The cells of the matrix, with the common values for what they leave open."""
        return tuple(
            WholeCell(
                toolchain=cell.toolchain or self.toolchain,
                suite=cell.suite or self.base.suite,
                image=cell.image,
                variants=cell.variants or self.cook.variants,
                label=cell.label,
            )
            for cell in self.matrix
        )

    @model_validator(mode="after")
    def _coherent_matrix(self) -> Self:
        if not self.matrix and not common_tags(self.image.tags, suite=self.base.suite):
            refuse("image.tags: {label} is for the cells of a matrix; write a tag without it")
        check_cells(self.whole_cells, self.image.tags)
        if self.matrix and self.base.image is not None:
            refuse("matrix: base.image is one image, and every cell has its own; set the `image` of the cells instead")
        return self

    @model_validator(mode="after")
    def _reachable_cache(self) -> Self:
        kind = self.build_cache.type
        if kind == "registry" and self.build_cache.ref is None and not self.image.registry:
            refuse("build_cache.ref: image.registry is empty, so there is no repository beside it; write one")
        if kind == "inline" and not self.image.registry:
            refuse("build_cache.type: inline is read from the pushed images; name their host in image.registry")
        if kind == "inline" and not self.image.moving_tags_of(layer="", rust=self.toolchain):
            refuse("build_cache.type: inline is read by a tag without {date} and {plan}; put one into image.tags")
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
