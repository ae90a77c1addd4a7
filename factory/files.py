"""Files written whole or not at all, and JSON that is the same bytes for the same content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from factory.errors import ConfigurationError
from factory.program_variables import ProgramVariable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CACHEDIR_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Written by factory; see https://bford.info/cachedir/\n"

DISK_FULL = re.compile("no space left on device|disk quota exceeded", re.IGNORECASE)
"""In what words programs say so: no crate, and no network, is to blame then."""


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path` by `text` in one step: a reader sees the old file or the new one, never half of it.

    The file has exactly `mode`. Makes missing folders; raises `ConfigurationError` where the file cannot be written.
    A pipe or a device such as /dev/null gets the text, and stays what it is.
    """
    try:
        if _is_stream(path):
            path.write_text(text, encoding="utf-8")
        else:
            _replace(path, text, mode)
    except OSError as error:
        what = f"{path}: cannot be written: {error.strerror}"
        raise ConfigurationError(what, advice="Name a place that is writable and has room.") from error


def write_new(texts: Mapping[str, str], folder: Path, *, force: bool) -> tuple[Path, ...]:
    """Write files that the user will keep and edit, by their paths below a folder; return where they are.

    Writes all of them or none: raises `ConfigurationError` where one is there already, unless with `force`, and where
    one is a symbolic link.
    """
    paths = {name: folder / name for name in texts}
    there = sorted(str(path) for path in paths.values() if path.exists() or path.is_symlink())
    if there and not force:
        raise ConfigurationError(
            "\n".join(f"{path}: is there already" for path in there),
            advice="Remove it, or overwrite it with `--force`.",
        )
    links = sorted(str(path) for path in paths.values() if path.is_symlink())
    if links:
        raise ConfigurationError(f"{links[0]}: is a symbolic link", advice="Remove it, or write the file yourself.")
    for name, path in paths.items():
        write_text(path, texts[name])
    return tuple(paths.values())


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder whatever the modes in it; nothing where there is none. Raises `OSError`."""
    # It may lie in a folder that has gone.
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            let_owner_in(path)
            shutil.rmtree(path)
        else:
            path.unlink()


def let_owner_in(folder: Path) -> None:
    """Let the owner of a folder, and of those below it, enter them and change what is in them.

    Follows no link; does nothing where there is no folder. Raises `OSError`.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        with contextlib.suppress(FileNotFoundError):
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode):
                continue
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                path.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
            with os.scandir(path) as listed:
                waiting += [Path(entry.path) for entry in listed if entry.is_dir(follow_symlinks=False)]


def _is_stream(path: Path) -> bool:
    """Whether what is there takes a text, but must never be replaced: as root that would take it from everybody."""
    try:
        kind = path.lstat().st_mode
    except OSError:
        return False
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        raise OSError(errno.EINVAL, "a disk or a socket, and no place for a file")
    of_system = path.absolute().is_relative_to("/dev")  # /dev/stdout is a link
    return stat.S_ISCHR(kind) or stat.S_ISFIFO(kind) or (stat.S_ISLNK(kind) and of_system)


def _replace(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def canonical_json(value: Any, *, depth: int = 3) -> str:  # noqa: ANN401 - any JSON value
    """Serialise to sorted JSON that ends in a newline: the form of every file we write.

    Containers down to `depth` have a line for each entry, so that a diff shows what changed; what lies deeper is kept
    on one line, so that thirty thousand units stay readable.
    """
    return "".join(_lines(value, depth, "")) + "\n"


def _lines(value: Any, depth: int, indent: str) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if depth == 0 or not isinstance(value, (dict, list, tuple)) or not value:
        yield json.dumps(value, sort_keys=True, ensure_ascii=False)
        return
    inner = f"{indent} "
    is_object = isinstance(value, dict)
    yield "{" if is_object else "["
    items = sorted(value.items()) if isinstance(value, dict) else [("", item) for item in value]
    for number, (key, item) in enumerate(items):
        yield f"{',' if number else ''}\n{inner}"
        if is_object:
            yield f"{json.dumps(str(key), ensure_ascii=False)}: "
        yield from _lines(item, depth - 1, inner)
    yield f"\n{indent}{'}' if is_object else ']'}"


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write `value` as canonical JSON, in one step."""
    write_text(path, canonical_json(value))


def read_json(path: Path, *, made_by: str) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON file of ours; raise `ConfigurationError` that names the command which makes it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file", advice=f"Run `{made_by}` first.") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not valid JSON: {error}", advice=f"Run `{made_by}` again.") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", advice=f"Name what `{made_by}` wrote.") from error


def flaw(error: Exception) -> str:
    """Say what reading a document of ours stumbled over, in words where the exception has some."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) if isinstance(error, ValueError) else f"it is built otherwise ({error})"


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 (hex) of `value` in a compact canonical form."""
    compact = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(compact.encode("utf-8", "surrogateescape")).hexdigest()


def cache_directory() -> Path:
    """Return (and create, tagged as a cache) the directory for what can be made again.

    That is `FACTORY_CACHE_DIR` or XDG's. Raises `ConfigurationError` for a chosen directory that holds something
    else: it would be lost with the cache.
    """
    chosen = os.environ.get(ProgramVariable.CACHE_DIR)
    root = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("rust-warm-factory")
    root = root.absolute()
    tag = root / "CACHEDIR.TAG"
    if not tag.exists():
        if chosen:
            _refuse_foreign(root)
        write_text(tag, CACHEDIR_TAG)
    return root


def clean_cache() -> Path:
    """Remove the cache directory and return where it was; raise `ConfigurationError` when it is not tagged as ours."""
    root = cache_directory()
    if (root / "CACHEDIR.TAG").read_text(encoding="utf-8") != CACHEDIR_TAG:
        raise ConfigurationError(f"{root}: its CACHEDIR.TAG is not ours", advice="Check FACTORY_CACHE_DIR.")
    shutil.rmtree(root)
    return root


def _refuse_foreign(root: Path) -> None:
    try:
        foreign = next(root.iterdir(), None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{root}: {error.strerror}", advice="Check FACTORY_CACHE_DIR.") from error
    # Another process that tags the same new directory is not foreign.
    if foreign is not None and not foreign.name.removeprefix(".").startswith("CACHEDIR.TAG"):
        what = f"{root}: holds other files, {foreign.name} for one, and is no cache of ours"
        raise ConfigurationError(what, advice="Name a new or empty directory in FACTORY_CACHE_DIR.")
