"""Where packages may come from that are cooked: crates.io, and what the configuration names.

Cooking runs build scripts of a package, and takes its sources into the image. For crates.io that is what everybody
does; every other place is the platform team's to name, not a scanned repository's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.model import CRATES_IO, PackageId, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class CookableSources:
    """Registries by the URL of their index, git repositories by what their URL begins with.

    `commits` has the one commit to cook of each git source that several repositories have locked differently; a
    source that is not in it has but one.
    """

    registries: frozenset[str] = frozenset()
    git: tuple[str, ...] = ()
    commits: Mapping[str, str] = field(default_factory=dict)

    def with_those_of(self, packages: Iterable[PackageId]) -> CookableSources:
        """Return the same with the sources of packages that were cooked, at the commits that were."""
        cooked = tuple(packages)
        git = [package for package in cooked if package.kind is SourceKind.GIT]
        indexes = {
            package.source.removeprefix("registry+") for package in cooked if package.kind is SourceKind.REGISTRY
        }
        return CookableSources(
            registries=self.registries | indexes,
            git=(*self.git, *sorted({_url(package) for package in git})),
            commits={**self.commits, **{package.without_commit.source: package.commit for package in git}},
        )

    def why_not(self, package: PackageId) -> str | None:
        """Say why packages from there are not cooked; `None` where they are."""
        match package.kind:
            case SourceKind.REGISTRY:
                return self._why_not_registry(package.source)
            case SourceKind.GIT:
                return self._why_not_git(package)
            case SourceKind.PATH | SourceKind.STANDARD_LIBRARY:
                return f"a {package.kind} package: its units must not stay where others build"

    def _why_not_registry(self, source: str) -> str | None:
        index = source.removeprefix("registry+")
        if source == CRATES_IO or index in self.registries:
            return None
        return f"from the registry {index}, which `registries` in registry-config.yaml does not name"

    def _why_not_git(self, package: PackageId) -> str | None:
        source, url = package.without_commit.source, _url(package)
        if not any(_is_below(url, prefix) for prefix in self.git):
            return f"from {url}, which `git` in registry-config.yaml does not name"
        if not package.commit:
            return f"from {url}, of which the lock names no commit"
        chosen = self.commits.get(source, package.commit)
        if package.commit != chosen:
            return f"at commit {package.commit[:7]}: cargo keeps one commit of {source}, and more have {chosen[:7]}"
        return None


CRATES_IO_ONLY = CookableSources()
"""What is cooked from where nothing is configured."""


def _url(package: PackageId) -> str:
    return package.without_commit.source.removeprefix("git+").partition("?")[0]


def _is_below(url: str, prefix: str) -> bool:
    """Whether `prefix` is a host, a folder or a repository that `url` is in: never half a name."""
    rest = url.removeprefix(prefix.rstrip("/"))
    return rest != url and (rest in {"", ".git"} or rest.startswith("/"))
