"""Run a program of the project's virtual environment, which is made, or brought up to date, first.

    scripts/python scripts/environment.py PROGRAM [ARGUMENT...]

`.venv` holds the project (editable) and its development tools. It is left as it is while `pyproject.toml`,
the Python and the place of the checkout are what they were when it was made.
"""

from __future__ import annotations

import hashlib
import os
import subprocess  # noqa: TID251 - runs before the package is installed
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PROGRAMS = VENV / "bin"
STAMP = VENV / "made-for.sha256"
INSTALL_SECONDS = 900.0


def main() -> int:
    """Prepare the environment and become the program; return an exit code where that fails."""
    if len(sys.argv) < 2:
        return _fail("no program was named", advice=__doc__.strip().splitlines()[2].strip(), code=2)
    try:
        prepare()
    except (OSError, subprocess.SubprocessError) as error:
        advice = "The package index must be reachable; pip's own messages above say what failed."
        return _fail(f"cannot make {VENV}: {error}", advice=advice, code=4)
    os.environ["PATH"] = os.pathsep.join([str(PROGRAMS), os.environ.get("PATH", os.defpath)])
    os.environ["VIRTUAL_ENV"] = str(VENV)
    program = PROGRAMS / sys.argv[1]
    try:
        os.execv(program, [str(program), *sys.argv[2:]])  # noqa: S606 - a program of our own environment
    except OSError as error:
        return _fail(f"cannot start {program}: {error.strerror}", advice=f"Remove {VENV} and try again.", code=4)


def prepare() -> None:
    """Make `.venv` hold what `pyproject.toml` asks for; do nothing where it does."""
    wanted = _digest()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    _say(f"preparing {VENV.relative_to(ROOT)} ...")
    STAMP.unlink(missing_ok=True)
    if not _has_pip():
        _run(sys.executable, "-m", "venv", "--clear", VENV)
    pip = (PROGRAMS / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    # Dependency groups came with pip 25.1; the pip that Python brings is often older.
    _run(*pip, "--upgrade", "pip>=25.1")
    _run(*pip, "--group", f"{ROOT / 'pyproject.toml'}:dev", "--editable", ROOT)
    STAMP.write_text(wanted, encoding="utf-8")


def _digest() -> str:
    made_for = (sys.version, str(ROOT), (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(made_for).encode()).hexdigest()


def _has_pip() -> bool:
    code = f"import sys, pip; sys.exit(sys.version != {sys.version!r})"
    try:
        _run(PROGRAMS / "python", "-c", code, quiet=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _run(*command: str | Path, quiet: bool = False) -> None:
    # Standard output is the program's that follows.
    output = subprocess.DEVNULL if quiet else sys.stderr
    subprocess.run(command, check=True, stdout=output, stderr=output, timeout=INSTALL_SECONDS)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _fail(what: str, *, advice: str, code: int) -> int:
    _say(f"error: {what}\n{advice}")
    return code


if __name__ == "__main__":
    sys.exit(main())
