"""What a job installs to have `factory`: a requirement as pip and pipx both read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTRIBUTION = "rust-warm-factory"

PACKAGE_ADVICE = (
    "Write a git URL (git+https://HOST/REPO.git@TAG), a wheel (https://HOST/NAME.whl), or name and version "
    f"({DISTRIBUTION}==0.1.0) in an index of yours, which PIP_INDEX_URL tells the job: PyPI has none of ours."
)
"""What to write for a package, wherever a job runs."""

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"(?:\[(?P<extras>{_NAME}(?:,{_NAME})*)\])?"
_RELEASE = r"(?:===?|~=|!=|[<>]=?)[A-Za-z0-9.*+!_-]+"
# A host and nothing else before the path: what holds a slash could be a password too.
_HOST = r"[A-Za-z0-9.-]+(?::[0-9]+)?"
_URL = rf"(?:(?:git\+)?https://|git\+ssh://(?:[A-Za-z0-9._-]+@)?){_HOST}/[A-Za-z0-9._~:/@%+#&=,-]+"
_FORMS = tuple(
    re.compile(pattern)
    for pattern in (
        # A file before a name, which it may look like. What a shell or YAML would read otherwise is in none of them.
        rf"(?P<file>[A-Za-z0-9._/][A-Za-z0-9._/+-]*\.(?:whl|tar\.gz)){_EXTRAS}",
        rf"(?:(?P<called>{_NAME}){_EXTRAS} ?@ ?)?(?P<url>{_URL})",
        rf"(?P<name>{_NAME}){_EXTRAS}(?P<releases>(?:{_RELEASE}(?:,{_RELEASE})*)?)",
    )
)
# In any text, whatever else is wrong with it. Who logs in by ssh has a key: a name alone gives nothing away.
_ACCOUNT = re.compile(r"://[^/?#\s]*@")
_SSH_USER = re.compile(r"git\+ssh://[A-Za-z0-9._-]+@")
_QUERY = re.compile(r"://[^#\s]*\?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A requirement without its extras: `front` them, which stand between the two, and `back`.

    `file` is the path of a wheel or an archive, "" for what is fetched.
    """

    front: str
    back: str = ""
    extras: frozenset[str] = frozenset()
    file: str = ""

    @classmethod
    def parse(cls, text: str) -> Package:
        """Read a requirement; raise `ConfigurationError`, which quotes nothing, for what is none, or holds a secret."""
        _require_no_secret(text)
        match = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
        if match is None:
            # Not shown: there may be a password in it that is none by the looks of it.
            raise ConfigurationError(
                "--package: no requirement that pip and pipx both take",
                advice=f"{PACKAGE_ADVICE} Or the path of a wheel.",
            )
        part = match.groupdict(default="")
        extras = frozenset(filter(None, part["extras"].split(",")))
        if "url" in part:
            return cls(front=part["called"] or DISTRIBUTION, back=f" @ {part['url']}", extras=extras)
        if "file" in part:
            return cls(front=part["file"], extras=extras, file=part["file"])
        return cls(front=part["name"], back=part["releases"], extras=extras)

    @property
    def by_ssh(self) -> bool:
        """Whether it takes an ssh key to fetch it."""
        return " @ git+ssh://" in self.back

    def with_extras(self, extras: Iterable[str] = ()) -> str:
        """Return the requirement with these extras beside its own."""
        named = ",".join(sorted(self.extras | set(extras)))
        return f"{self.front}[{named}]{self.back}" if named else f"{self.front}{self.back}"


def _require_no_secret(text: str) -> None:
    """Raise `ConfigurationError` for an account or a query string in a URL; what it is, is not shown."""
    if _ACCOUNT.search(_SSH_USER.sub("", text)):
        held = "a user name or a password"
    elif _QUERY.search(text):
        held = "a query string, which may be a token"
    else:
        return
    raise ConfigurationError(
        f"--package: the URL holds {held}: every reader of the files would have it",
        advice="Leave it out, and let the job log in: by ~/.netrc, or PIP_INDEX_URL for an index of your own.",
    )
