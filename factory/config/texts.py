"""The types of single values in `registry-config.yaml` and profiles: what fits, and what is said of what does not."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import core_schema

from factory.cargo.variants import VARIANT_PATTERN, Variant
from factory.config.byte_sizes import SIZE_PATTERN, format_size, parse_size
from factory.config.quoting import quoted
from factory.platforms import Platform

if TYPE_CHECKING:
    from pydantic import ValidationInfo

OLDEST_TOOLCHAIN = (1, 85, 0)
"""The oldest release that the unit keys were tried with; before 1.91 the images share a target directory."""

ARCHITECTURE = "{arch}"
"""Stands in the tag of a base image for the architecture, where each platform has an image of its own."""


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
            refuse(f"{quoted(text)} does not fit; {self.need}")
        return text


def refuse(message: str) -> NoReturn:
    """Refuse a value: pydantic turns the error into one of the file, at the place of its key."""
    raise ValueError(message)


def _size(value: object, info: ValidationInfo) -> object:
    # A number without a unit is fine in code and a trap in a file; files are validated as JSON.
    if info.mode == "json" and not isinstance(value, str):
        refuse('a size needs a number and a unit; write it like "500 MB" or "1.5 GiB"')
    return parse_size(value) if isinstance(value, str) else value


def some_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of which there is one at least, and none twice; refuse others."""
    # Not `min_length`: pydantic counts the valid items only, and would call a list of one bad item empty.
    if not values:
        refuse("is empty; name at least one, or remove the key to get its default")
    twins = sorted({str(value) for value in values if values.count(value) > 1})
    if twins:
        refuse(f"{', '.join(twins)} is listed twice; name each once")
    return values


def _some_variants(values: tuple[str, ...]) -> tuple[str, ...]:
    # `build:release` is `release`: written in one way, twins are seen and equal files give equal plans.
    return some_names(tuple(str(Variant.parse(value)) for value in values))


def _in_order(platforms: tuple[Platform, ...]) -> tuple[Platform, ...]:
    # The order of the file means nothing: two files that say the same must give the same bytes everywhere.
    return tuple(platform for platform in Platform if platform in platforms)


def _quoted_version(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        refuse('a version without quotes is a number, and 1.80 is 1.8; quote it, all three parts, like "1.95.0"')
    return value


def _toolchain(version: str) -> str:
    if tuple(int(part) for part in version.split(".")) < OLDEST_TOOLCHAIN:
        oldest = ".".join(str(part) for part in OLDEST_TOOLCHAIN)
        refuse(f"{version} is too old: unit keys are known from {oldest} on; take a newer one")
    return version


def _path(path: str) -> str:
    if path == "/" or posixpath.normpath(path) != path or path.startswith("//"):
        refuse(f'{quoted(path)} is not a plain path; write it without "..", "." or double slashes, and below /')
    return path


def _not_root(name: str) -> str:
    if name == "root":
        refuse("root is there already, and caches that root owns are the trouble to avoid; name another user")
    return name


def _rustflag(flag: str) -> str:
    if re.search(r"\s", flag):
        words = ", ".join(f'"{word}"' for word in flag.split())
        refuse(f"{quoted(flag)} would reach rustc as one argument; list its words: [{words}]")
    return flag


def _variant(text: str) -> str:
    Variant.parse(text)
    return text


def _base_reference(reference: str) -> str:
    if ARCHITECTURE in reference and "@" in reference:
        refuse(f"{quoted(reference)} is pinned to one image; leave out {ARCHITECTURE} or the digest")
    return reference


def _git_url(url: str) -> str:
    if re.match(r"https?://[^/]*@|[a-z+]+://[^/]*:[^/]*@", url):
        # The message must not repeat it.
        refuse("the URL holds a user name or a password; leave them out and use git's credential helper or ssh")
    # `ext::` and other helpers run commands, and a leading dash is an option: only what only fetches passes.
    if re.fullmatch(r"(https?|ssh|git|file)://[^\s]+|[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^\s]+", url) is None:
        refuse(f"{quoted(url)} is not a git URL; write https://…, ssh://…, git://…, file://… or user@host:path")
    return url


def _no_password(url: str) -> str:
    if re.match(r"(?:sparse\+)?https?://[^/]*@|[a-z0-9+]+://[^/]*:[^/]*@", url):
        # The message must not repeat it.
        refuse(
            "the URL holds a user name or a password; leave them out, docs/private-sources.md says where to put them"
        )
    return url


def _store_address(url: str) -> str:
    # Not shown: it may be a password that does not fit.
    if re.search(r"://[^/?#]*:[^/?#]*@|[?&]password=", url):
        refuse("holds a password; leave it out, and put it in PGPASSWORD or in ~/.pgpass")
    if re.fullmatch(r"sqlite:///.+|postgres(?:ql)?://.+", url) is None:
        refuse("is no address of a store; write sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    return url


_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = rf"(?:localhost|{_HOST}(?:\.{_HOST})+)(?::[0-9]{{1,5}})?|{_HOST}:[0-9]{{1,5}}"
_REPOSITORY_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_REPOSITORY_PART}(?:/{_REPOSITORY_PART})*"
_TAG = r"(?:[A-Za-z0-9_]|\{arch\})(?:[A-Za-z0-9_.-]|\{arch\}){0,127}"
_REFERENCE = rf"(?:(?:{_REGISTRY})/)?{_REPOSITORY}(?::{_TAG})?(?:@sha256:[0-9a-f]{{64}})?"

SOME_NAMES = Field(json_schema_extra={"minItems": 1, "uniqueItems": True})
"""What the JSON Schema says of `some_names`."""

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
Variants = Annotated[tuple[VariantText, ...], SOME_NAMES, AfterValidator(_some_variants)]
Platforms = Annotated[tuple[Platform, ...], SOME_NAMES, AfterValidator(some_names), AfterValidator(_in_order)]
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
StoreAddress = Annotated[str, AfterValidator(_store_address)]
WholeId = Annotated[int, Field(ge=0, le=2_147_483_647)]
Seconds = Annotated[int, Field(ge=1, le=604_800)]
