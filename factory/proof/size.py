"""Whether a result weighs no more than it may, and holds nothing that cooking should have removed.

What is left over is not described here a second time: on a copy, or in a container that is thrown away, the rules of
the cook itself (Dockerfiles/prune.sh) are applied once more, and find nothing to do.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from factory.config.byte_sizes import format_size
from factory.cook.sizes import list_sizes, read_listing
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.labels import SHARE
from factory.process import run
from factory.proof.model import Check
from factory.resources import shipped
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from factory.engine import Container

PRUNE = "/run/factory-prune.sh"
"""Where `size_of_image` expects the rules in its container."""

KEEP_INDEX = "-"
"""Given to the rules in the place of a list of locked packages: the registry's index is not looked at."""

_MOST_FINDINGS = 20
_TOLD = 0.1
"""Megabytes of something else that are worth a word: cargo's configuration is a few bytes."""


def rules() -> Path:
    """Return the script that has the rules."""
    return shipped("Dockerfiles") / "prune.sh"


def size_of_image(container: Container, cargo_home: str, build_dir: str, *, timeout: float) -> tuple[Check, ...]:
    """Judge an image in a container of its own, in which the rules are mounted at `PRUNE`: its files change."""
    before = _listed(container, cargo_home, build_dir, timeout=timeout)
    arguments = ["/run/factory-since", KEEP_INDEX, cargo_home, build_dir]
    _must(container, ["touch", "--date=@0", arguments[0]], timeout=timeout)
    _must(container, ["sh", PRUNE, *arguments], timeout=timeout)
    after = _listed(container, cargo_home, build_dir, timeout=timeout)
    found = _must(container, ["sh", "-c", f"cat {SHARE}/*/contents.json | tr -d '\\n'"], timeout=timeout)
    return _checks(before, after, _documents(found, where=SHARE), weighs=sum(before.values()))


def size_of_directory(folder: Path, *, timeout: float) -> tuple[Check, ...]:
    """Judge a cooked directory, on a copy."""
    contents = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("share/*/contents.json")))
    with scratch("factory-size-") as copy:
        names = ("cargo-home", "build")
        for name in names:
            if (folder / name).exists():
                # Whoever builds on the directory leaves cargo's note of what was used when.
                shutil.copytree(
                    folder / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns(".global-cache")
                )
        roots = [copy / name for name in names]
        before = list_sizes(roots)
        (copy / "since").touch()
        since = copy / "since"
        run(["touch", "--date=@0", since], timeout=timeout)
        run(["sh", rules(), since, KEEP_INDEX, *roots], timeout=timeout)
        after = list_sizes(roots)
    where = str(folder / "share")
    return _checks(
        {path.replace(str(copy), str(folder), 1): size for path, size in before.items()},
        {path.replace(str(copy), str(folder), 1): size for path, size in after.items()},
        _documents(contents, where=where),
        # Not that of the copy, in which files with two names are two files.
        weighs=sum(list_sizes([folder / name for name in names]).values()),
    )


def _checks(
    before: Mapping[str, int], after: Mapping[str, int], layers: Iterable[Mapping[str, object]], *, weighs: int
) -> tuple[Check, ...]:
    left = {path: size - after.get(path, 0) for path, size in before.items() if after.get(path) != size}
    return _leftovers(left, in_all=weighs), _budgets(weighs, list(layers))


def _leftovers(left: Mapping[str, int], *, in_all: int) -> Check:
    wasted = sum(left.values())
    heaviest = sorted(left, key=lambda path: (-left[path], path))[:_MOST_FINDINGS]
    return Check(
        name="no leftovers",
        ok=not left,
        detail=(
            f"{len(left)} files hold {wasted / 1e6:.1f} MB that no consumer needs, of {in_all / 1e6:.1f} MB"
            if left
            else f"{in_all / 1e6:.1f} MB, and nothing of it can go"
        ),
        findings=tuple(f"{path}: {left[path]} bytes" for path in heaviest),
    )


def _budgets(weighs: int, layers: list[Mapping[str, object]]) -> Check:
    rows = [(str(layer["layer"]), _number(layer["bytes"]), layer["budget_bytes"]) for layer in layers]
    over = [
        f"{name}: {own / 1e6:.1f} MB, and its budget is {format_size(_number(budget))}"
        for name, own, budget in rows
        if budget is not None and own > _number(budget)
    ]
    cooked = sum(own for _, own, _ in rows)
    # A base image may have brought some of it: more is what a derived image has added.
    grown = (weighs - cooked) / 1e6
    budgets = ", ".join(f"{name} {own / 1e6:.1f} MB" for name, own, _ in rows)
    return Check(
        name="within budget",
        ok=not over,
        detail=f"{budgets}" + (f"; {grown:.1f} MB came from elsewhere" if grown >= _TOLD else ""),
        findings=tuple(over),
    )


def _number(value: object) -> int:
    if not isinstance(value, int):
        message = f"{value!r} is not a number of bytes"
        raise TypeError(message)
    return value


def _documents(text: str, *, where: str) -> list[Mapping[str, object]]:
    """Return the JSON documents in a text, one after the other: the `contents.json` of each layer."""
    decoder = json.JSONDecoder()
    documents: list[Mapping[str, object]] = []
    rest = text.strip()
    try:
        while rest:
            document, end = decoder.raw_decode(rest)
            documents.append({name: document[name] for name in ("layer", "bytes", "budget_bytes")})
            rest = rest[end:].strip()
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{where}: the layers do not say what they weigh: {error!r}", advice="Run `factory build` again."
        ) from error
    return documents


def _listed(container: Container, cargo_home: str, build_dir: str, *, timeout: float) -> dict[str, int]:
    find = ["find", cargo_home, build_dir, "-path", f"{cargo_home}/bin", "-prune", "-o"]
    return read_listing(_must(container, [*find, "-type", "f", "-printf", "%s %i %p\\n"], timeout=timeout))


def _must(container: Container, args: list[str], *, timeout: float) -> str:
    answer = container.run(args, user="0", timeout=timeout)
    if not answer.ok:
        raise EnvironmentFaultError(
            f"`{answer.command}` failed in a container: {answer.stderr.strip()[:500]}",
            advice="Besides cargo, the image needs a shell and `find`, `head`, `od`, `tr`, `awk`, `grep` and `sort`.",
        )
    return answer.stdout
