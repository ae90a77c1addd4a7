"""A small repository in a folder of its own, with the program as a user starts it there."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from factory import process
from factory.cargo.toolchain import find_toolchain
from factory.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cargo.scenario import Workspace

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1500.0
"""Two platforms, of which one is emulated, are the most that one command makes."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The folder in which all commands are run, and the variables that they get."""

    folder: Path
    environment: Mapping[str, str]

    def factory(self, *words: str) -> process.Completed:
        """Run `factory WORDS`, however it ends."""
        command = [sys.executable, "-m", "factory", *words]
        return process.run(command, cwd=self.folder, env=self.environment, check=False, timeout=SECONDS)

    def succeed(self, *words: str) -> process.Completed:
        """Run `factory WORDS`, which must succeed."""
        answer = self.factory(*words)
        assert answer.returncode == 0, answer.stderr
        return answer

    def under(self, **variables: str) -> Self:
        """Return the same line with more variables."""
        return replace(self, environment={**self.environment, **variables})

    def answer(self, *words: str) -> Any:  # noqa: ANN401 - any JSON value
        """Run `factory WORDS --json`, which must succeed, and return its answer."""
        return json.loads(self.succeed(*words, "--json").stdout)

    def read(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return what a JSON file of the folder holds."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def line_of(folder: Path, workspace: Workspace, settings: Mapping[str, object], environment: Mapping[str, str]) -> Line:
    """Write a repository, locked and with its crates downloaded, a configuration, and one layer for all there is."""
    # JSON is YAML too.
    write_text(folder / "registry-config.yaml", json.dumps(settings))
    write_text(folder / "profiles" / "core.toml", 'description = "All there is"\n')
    repo = folder / workspace.name
    workspace.write(repo, find_toolchain().host)
    write_text(repo / ".git" / "HEAD", "")
    fetched = process.run(["cargo", "fetch"], cwd=repo, check=False, timeout=300)
    assert fetched.ok, fetched.stderr
    own = {
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_PROFILES": str(folder / "profiles"),
        "PYTHONPATH": str(ROOT),
    }
    return Line(folder=folder, environment={**environment, **own})
