"""What scanning gives: workspaces, and rows that explain what was left out."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


MAX_WHAT = 1000
"""Characters of an explanation: it may quote a hostile file."""


class SkipReason(enum.StrEnum):
    """Why a folder, a manifest or a whole workspace was left out."""

    NO_LOCKFILE = "no-lockfile"
    MALFORMED_MANIFEST = "malformed-manifest"
    MALFORMED_CONFIG = "malformed-config"
    MALFORMED_TOOLCHAIN = "malformed-toolchain"
    NOT_UTF8_PATH = "not-utf8-path"
    PERMISSION_DENIED = "permission-denied"
    UNREADABLE = "unreadable"
    NO_TARGET = "no-target"
    TARGET_OUTSIDE = "target-outside"
    MEMBER_MISSING = "member-missing"
    NOT_A_MEMBER = "not-a-member"
    PATH_DEPENDENCY_MISSING = "path-dependency-missing"
    PATH_DEPENDENCY_OUTSIDE = "path-dependency-outside"
    SYMLINK_OUTSIDE = "symlink-outside"
    SOURCE_UNREACHABLE = "source-unreachable"


@dataclass(frozen=True, order=True, kw_only=True, slots=True)
class Skipped:
    """One explained row: what was left out, why, and what to do about it."""

    path: str
    """Display path, as in `FoundWorkspace.path`."""
    repo: str
    reason: SkipReason
    detail: str
    """`file:line: what is wrong; what to do`, with display paths."""


@dataclass(frozen=True, order=True, kw_only=True, slots=True)
class FoundWorkspace:
    """One cargo workspace with a lockfile; all `Path`s are absolute and free of symbolic links."""

    path: str
    """Display path of the root: POSIX, unique in its scan, and the same from whatever directory the scan is
    started.

    It begins with the name of the scanned folder; where two scanned folders have the same name, with as many
    of their parents as tell them apart. Backslashes and unprintable characters are escaped.
    """
    repo: str
    """Display path of the repository: see `repo_root`."""
    root: Path
    """The folder of the root manifest."""
    repo_root: Path
    """The nearest folder with `.git` from `root` up to `scan_root`; without one, the scanned folder if it
    holds a `Cargo.toml`, else the folder right below it.
    """
    scan_root: Path
    """The scanned folder."""
    manifests: tuple[Path, ...]
    """The root manifest and those of all members, by cargo's rules, sorted."""
    lock: Path
    toolchain_pin: str | None = None
    """The channel of the nearest `rust-toolchain(.toml)`, or `path:...` for one that names a folder."""
    rust_version: str | None = None
    """The highest `package.rust-version` of the members."""
    builds: float = 1.0
    """How often it is built, compared with others."""

    @property
    def label(self) -> str:
        """The display path of `scan_root`."""
        below = len(self.root.relative_to(self.scan_root).parts)
        parts = PurePosixPath(self.path).parts
        return str(PurePosixPath(*parts[: len(parts) - below]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """All workspaces below the scanned folders, and all that was left out; both sorted by path."""

    workspaces: tuple[FoundWorkspace, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, order=True, kw_only=True, slots=True)
class IgnoredSetting:
    """A setting of a repository's cargo configuration that never takes effect here."""

    key: str
    file: str
    """Display path of the configuration file."""
    line: int | None = field(default=None, compare=False)
    why: str

    @property
    def place(self) -> str:
        """`file:line`, or just `file`."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.key}: {self.why}"


class UnscannableError(ConfigurationError):
    """Something in a scanned repository cannot be used: a row of the report, not the end of the run."""

    def __init__(self, reason: SkipReason, what: str, *, advice: str = "") -> None:
        # The text may quote the repository: no line break, no control character of its choice gets out.
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in what[:MAX_WHAT])
        super().__init__(shown, advice=advice)
        self.reason = reason

    def row(self, *, repo: str, path: str) -> Skipped:
        """Return this error as a row of the report."""
        detail = f"{self.what}; {self.advice}" if self.advice else self.what
        return Skipped(repo=repo, path=path, reason=self.reason, detail=detail)
