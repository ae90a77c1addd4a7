"""Repositories by git URL: a copy of what scanning needs, kept in the cache.

Fetched are one commit, its list of files and the contents of lockfiles and of all that may be a manifest, a cargo
configuration or a toolchain file; Rust sources come as empty files. Nothing that the repository can choose is
executed: no hooks, no submodules, no filters (Git LFS among them), no symbolic links, no protocol that runs a command.

The user's own git configuration stays in force, because private repositories need its credential helpers,
proxies and certificates; git is only kept from asking questions. Neither the URL's credentials nor git's own
folder stay in the cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory import files, process
from factory.errors import ConfigurationError, EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Sequence


TIMEOUT_SECONDS = 600.0
"""How long one git command may take."""

ABANDONED_SECONDS = 24 * 3600.0
"""The age at which an unfinished copy cannot be another process's any more."""

_MOST_GENERATIONS = 5000
"""Of commits that are fetched for a history; more than most repositories have in a year."""

_UNFINISHED = ".unfinished-"
_URL = re.compile(r"(?P<scheme>https?|ssh|git|file)://(?!-)\S+")
_SCP_LIKE = re.compile(r"(?!-)(?:[\w.-]+@)(?!-)[\w.-]+:(?!:)\S+")
_REF = re.compile(r"[A-Za-z0-9_][\w./+@-]{0,200}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")

# Read as `.gitignore` lines: whole contents are fetched for these alone. A cargo configuration includes what it likes,
# of any name that ends so.
_WANTED = ("*.toml", "Cargo.lock", "rust-toolchain", "**/.cargo/config")
_EMPTY_COPIES = (".rs", "/.cargo-checksum.json")
# The strongest of all attributes files: no filter, no conversion, whatever the repository's own say.
_ATTRIBUTES = "* -filter -text -eol -ident -working-tree-encoding\n"
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=false",
    "core.attributesFile=/dev/null",
    "core.longpaths=true",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "core.sparseCheckout=true",
    "core.sparseCheckoutCone=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "advice.detachedHead=false",
)
REDIRECTING_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_TEMPLATE_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_TRACE",
)
"""Variables that would lead git to another repository or index than the one it is called for."""


def is_git_url(text: str) -> bool:
    """Whether `text` is a git URL (`https`, `http`, `ssh`, `git`, `file`, or `user@host:path`) and not a
    folder.
    """
    return bool(_URL.fullmatch(text) or _SCP_LIKE.fullmatch(text))


def without_secret(url: str) -> str:
    """Return a URL as it may be shown: without user and password."""
    return _SECRET.sub("", url)


def fetch(url: str, ref: str | None, cache: Path) -> Path:
    """Bring a branch, tag or commit (default: the remote's HEAD) into `cache`, and return its folder.

    The folder is named like the repository; a later call returns the same one, renewed if the remote has
    moved. It is complete or not there. Raises `ConfigurationError` for what is no git URL or ref,
    `EnvironmentFaultError` when git is missing or the repository cannot be read.
    """
    remote = _Remote(url=url, ref=ref)
    remote.check()
    process.which("git", advice="Install git, or give the path of a checkout instead of a URL.")
    place = cache / hashlib.sha256(f"{url}\0{ref or ''}".encode()).hexdigest()[:20]
    if ref is not None and _commit_in(place) == ref:
        return place / remote.name  # a full commit does not move
    _remove_abandoned(cache)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=cache))
    try:
        _renew(place, remote, unfinished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place / remote.name


def fetch_main_line(url: str, ref: str | None) -> str:
    """Return the times of the newest commits on a remote's main line, as `git rev-list --timestamp` prints them, and
    last `shallow` where there are more than were fetched.

    Fetched are commits, as far as the server can leave out the rest. Raises as `fetch` does.
    """
    remote = _Remote(url=url, ref=ref)
    remote.check()
    process.which("git", advice="Install git, or leave `worth.builds` at equal.")
    with tempfile.TemporaryDirectory(prefix="factory-history-") as name:
        repository = Path(name)
        remote.git(repository, ["init", "--quiet", "--bare", "--template="])
        commit = remote.commit(repository)
        only_commits = (f"--depth={_MOST_GENERATIONS}", "--filter=tree:0", "--no-tags", "--quiet")
        remote.git(repository, ["fetch", *only_commits, "origin", commit])
        listed = remote.git(repository, ["rev-list", "--first-parent", "--timestamp", commit])
        return listed + ("shallow\n" if (repository / "shallow").exists() else "")


@dataclass(frozen=True, slots=True)
class _Remote:
    url: str
    ref: str | None

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        return without_secret(self.url)

    @property
    def name(self) -> str:
        last = PurePosixPath(re.split(r"[/:]", self.url.rstrip("/"))[-1]).name.removesuffix(".git")
        return re.sub(r"[^\w.-]", "_", last, flags=re.ASCII).lstrip(".-") or "repository"

    def check(self) -> None:
        if not is_git_url(self.url):
            what = f"{self.shown!r} is not a git URL"
            raise ConfigurationError(what, advice="Use https://, ssh://, git://, file:// or user@host:path.")
        if self.ref is not None and (not _REF.fullmatch(self.ref) or ".." in self.ref):
            what = f"{self.ref!r} is not a git branch, tag or commit"
            raise ConfigurationError(what, advice="Name one branch, one tag or one full commit.")

    def commit(self, repository: Path) -> str:
        """Ask the remote what the ref is now; a full commit is what it is."""
        if self.ref is not None and _COMMIT.fullmatch(self.ref):
            return self.ref
        patterns = ["HEAD"] if self.ref is None else [f"refs/heads/{self.ref}", f"refs/tags/{self.ref}"]
        listed = self.git(repository, ["ls-remote", "--exit-code", "origin", *patterns]).splitlines()
        # A branch goes before a tag of the same name, as in git itself.
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed)}
        return next(found[pattern] for pattern in patterns if pattern in found)

    def git(self, repository: Path, args: Sequence[str]) -> str:
        """Run git in a repository of ours, whose only remote is `origin`, and return its stdout."""
        settings = (word for setting in _SETTINGS for word in ("-c", setting))
        command = ("git", "-C", str(repository), *settings, *args)
        done = process.run(command, env=self._environment(), timeout=TIMEOUT_SECONDS, check=False)
        if not done.ok:
            raise self._failed(args[0], done.stderr)
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """The user's environment, without questions; it holds the URL, as others can read command lines."""
        inherited = {name: value for name, value in os.environ.items() if name not in REDIRECTING_VARIABLES}
        count = inherited.get("GIT_CONFIG_COUNT", "0")
        number = int(count) if count.isdecimal() else 0
        return {
            "GIT_ASKPASS": "true",
            **inherited,
            "GIT_CONFIG_COUNT": str(number + 1),
            f"GIT_CONFIG_KEY_{number}": "remote.origin.url",
            f"GIT_CONFIG_VALUE_{number}": self.url,
            "GIT_ALLOW_PROTOCOL": "file" if self.url.startswith("file://") else "https:http:ssh:git",
            "GIT_TERMINAL_PROMPT": "0",
            "SSH_ASKPASS_REQUIRE": "never",
            "GCM_INTERACTIVE": "never",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "LC_ALL": "C",
        }

    def _failed(self, command: str, stderr: str) -> EnvironmentFaultError:
        said = _SECRET.sub("", stderr).strip().splitlines()[-5:]
        what = f"{self.shown}: `git {command}` failed"
        if command == "ls-remote" and not said:
            what = f"{self.shown}: no branch or tag {self.ref!r}" if self.ref else f"{self.shown}: no commits"
        advice = "Check the URL and that `git ls-remote` can read it without asking for a password."
        return EnvironmentFaultError("\n".join((what, *said)), advice=advice)


def _renew(place: Path, remote: _Remote, unfinished: Path) -> None:
    """Make a new copy aside if the remote has moved, and put it in place by one rename: never half of one."""
    copy = unfinished / "new"
    repository = copy / remote.name
    repository.mkdir(parents=True)
    # First of all: the folder where the user stands may be a hostile repository with its own configuration.
    remote.git(repository, ["init", "--quiet", "--template="])
    commit = remote.commit(repository)
    if _commit_in(place) == commit:
        return
    _copy(repository, remote, commit)
    files.write_json(copy / "source.json", _description(remote, commit))
    try:
        if place.exists():
            place.rename(unfinished / "old")
        copy.rename(place)
    except OSError as error:
        if _commit_in(place) != commit:  # else another process was quicker
            what = f"{place}: {error.strerror}"
            raise EnvironmentFaultError(what) from error


def _description(remote: _Remote, commit: str) -> dict[str, object]:
    return {"url": remote.shown, "ref": remote.ref, "commit": commit, "wanted": list(_WANTED)}


def _commit_in(place: Path) -> str | None:
    """Return the commit that is kept there; `None` too where another version kept other files of it."""
    try:
        found = files.read_json(place / "source.json", made_by="factory analyze")
    except ConfigurationError:
        return None
    return str(found.get("commit")) if isinstance(found, dict) and found.get("wanted") == list(_WANTED) else None


def _remove_abandoned(cache: Path) -> None:
    for unfinished in cache.glob(f"{_UNFINISHED}*"):
        if time.time() - unfinished.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(unfinished, ignore_errors=True)


def _copy(folder: Path, remote: _Remote, commit: str) -> None:
    git_folder = folder / ".git"
    files.write_text(git_folder / "info/attributes", _ATTRIBUTES)
    files.write_text(git_folder / "info/sparse-checkout", "".join(f"{line}\n" for line in _WANTED))
    shallow = ("--depth=1", "--filter=blob:none", "--no-tags", "--no-recurse-submodules", "--quiet")
    remote.git(folder, ["fetch", *shallow, "origin", commit])
    listed = remote.git(folder, ["ls-tree", "-r", "-z", "--full-tree", "--name-only", commit])
    remote.git(folder, ["checkout", "--quiet", "--detach", "--no-recurse-submodules", commit])
    # An empty folder still marks the top of a repository, and holds no configuration and no hook.
    shutil.rmtree(git_folder)
    git_folder.mkdir()
    for path in filter(None, listed.split("\0")):
        if path.endswith(_EMPTY_COPIES):
            _write_empty(folder, path)


def _write_empty(folder: Path, path: str) -> None:
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or any(part in {"..", "."} or part.lower() == ".git" for part in parts):
        return
    if "\ufffd" in path:
        return  # not UTF-8, so that cargo would not find it either
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(exist_ok=True)
