"""What a user installs: the wheel, in an environment of its own, away from the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess  # noqa: TID251 - the package under test is the installed one
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.runs_programs

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    ".gitignore",
    "Dockerfiles",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "factory",
    "profiles",
    "pyproject.toml",
    "registry-config.yaml",
    "behaviour-features.toml",
    "system-packages.toml",
    "tests/samples",
)
SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The wheel, and the programs of the environment that it is installed in."""

    wheel: Path
    programs: Path

    @property
    def names(self) -> frozenset[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return frozenset(archive.namelist())

    def run(self, *command: str, folder: Path) -> str:
        """Run a program of the environment in `folder` and return its standard output."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [self.programs / command[0], *command[1:]],
            cwd=folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    wheel = built_wheel(folder)
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-compile", wheel)
    # Its dependencies are those of the environment that runs the tests, looked at last: nothing is downloaded.
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    (site_packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return Installed(wheel=wheel, programs=python.parent)


def built_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the sources as they look after a day's work, compiled samples and all."""
    tree = folder / "tree"
    for name in SOURCES:
        copy(ROOT / name, tree / name)
    for litter in (
        "tests/samples/greeter-cli/target/release/greeter-cli",
        "tests/samples/notes-web/notes/target/debug/notes",
        "factory/__pycache__/cli.cpython-311.pyc",
    ):
        (tree / litter).parent.mkdir(parents=True, exist_ok=True)
        (tree / litter).write_bytes(b"litter")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, tree)
    (wheel,) = folder.glob("*.whl")
    return wheel


def copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("target", "__pycache__"))
    else:
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    environment = os.environ | {"PIP_NO_INDEX": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "place",
    [
        "Dockerfiles",
        "profiles",
        "tests/samples",
        "registry-config.yaml",
        "system-packages.toml",
        "behaviour-features.toml",
        "factory/py.typed",
    ],
)
def test_what_the_repository_shows_is_in_the_wheel(installed: Installed, place: str) -> None:
    expected = {in_wheel(path) for path in files_below(ROOT / place)}
    assert expected
    assert expected <= installed.names


def test_the_data_is_there_by_name(installed: Installed) -> None:
    data = {name.removeprefix("factory/_data/") for name in installed.names}
    assert {"profiles/core.toml", "profiles/web.toml", "profiles/db.toml", "registry-config.yaml"} <= data
    assert {"samples/greeter-cli/Cargo.lock", "samples/notes-web/notes/src/lib.rs"} <= data
    assert any(re.fullmatch(r"Dockerfiles/.*Dockerfile", name) for name in data)


def test_nothing_that_was_built_is_in_the_wheel(installed: Installed) -> None:
    parts = {part for name in installed.names for part in name.split("/")}
    assert parts.isdisjoint({"target", "__pycache__", "cli.cpython-311.pyc"})


def test_licences_and_name_are_in_the_wheel(installed: Installed) -> None:
    assert installed.wheel.name.startswith("rust_warm_factory-")
    licences = {name.rpartition("/")[2] for name in installed.names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE-APACHE", "LICENSE-MIT"}


def test_the_installed_package_is_the_one_that_runs(installed: Installed, tmp_path: Path) -> None:
    place = installed.run("python", "-c", "import factory; print(factory.__file__)", folder=tmp_path)
    assert Path(place).is_relative_to(installed.programs.parent)


def test_the_program_knows_its_version(installed: Installed, tmp_path: Path) -> None:
    version = installed.wheel.name.split("-")[1]
    assert version in installed.run("factory", "--version", folder=tmp_path).split()


def test_the_module_runs_as_a_program(installed: Installed, tmp_path: Path) -> None:
    text = installed.run("python", "-m", "factory", "--help", folder=tmp_path)
    for command in ("analyze", "plan", "build", "verify"):
        assert command in text


def test_the_configuration_is_found_in_the_wheel(installed: Installed, tmp_path: Path) -> None:
    assert "toolchain" in installed.run("factory", "config", "show", folder=tmp_path)


def test_a_configuration_to_edit_is_written_from_the_wheel(installed: Installed, tmp_path: Path) -> None:
    installed.run("factory", "config", "init", "--profiles", folder=tmp_path)
    for name in ("registry-config.yaml", "profiles/core.toml"):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()


def files_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [found for found in path.rglob("*") if found.is_file() and "target" not in found.parts]


def in_wheel(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return name if name.startswith("factory/") else f"factory/_data/{name.removeprefix('tests/')}"
