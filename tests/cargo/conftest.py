"""What the tests of commands share: the program as a user starts it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cargo.toolchain import find_toolchain
from tests.order import bring_forward
from tests.quick_samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from factory.process import Completed

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 500.0
LONGEST = [Path(__file__).with_name(f"test_{name}.py") for name in ("local_line", "unit_keys", "default_plan", "check")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    bring_forward(items, LONGEST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Runs `factory` in `folder`, which no configuration is above, with some variables besides the tests' own."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        *words: str | Path,
        code: int = 0,
        cwd: Path | None = None,
        before: tuple[str, ...] = (),
        on_stderr: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run `factory WORDS` to its end, which must be `code`; `before` are the words of a program that starts it."""
        done = process.run(
            [*before, sys.executable, "-m", "factory", *words],
            cwd=cwd or self.folder,
            env={**os.environ, **self.variables},
            timeout=SECONDS,
            check=False,
            on_stderr=on_stderr,
        )
        said = f"{done.command} exited with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == code, said
        assert "Traceback" not in done.stderr, said
        return done

    def json(self, *words: str | Path, code: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """Run `factory WORDS --json` and return its answer."""
        return json.loads(self(*words, "--json", code=code).stdout)

    def under(self, variables: Mapping[str, str]) -> Program:
        """Return the program with more variables."""
        return replace(self, variables={**self.variables, **variables})


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return the program with the shipped defaults, but for the toolchain: the one that is here."""
    folder = tmp_path_factory.mktemp("program")
    return Program(
        folder=folder,
        variables={
            "PYTHONPATH": str(ROOT),
            "FACTORY_TOOLCHAIN": find_toolchain().version,
            # What tests measure is nobody's business but theirs.
            "FACTORY_COSTS_URL": f"sqlite:///{folder}/costs.sqlite",
        },
    )


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of the sample repositories."""
    return SAMPLES
