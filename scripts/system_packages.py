"""Proves that every Debian package of system-packages.toml exists in every suite that images may stand on.

    python scripts/system_packages.py [SUITE...]

The lists come from the mirror that this machine's apt uses, into a directory of their own: nothing of the system's
apt is changed. Exit code 1 names what a suite lacks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from factory import process
from factory.base import apt_sources
from factory.planning.system_packages import read_table

SUITES = ("bookworm", "trixie", "sid")
LIST_SECONDS = 300


def main() -> int:
    """Write a line for each suite, and one for each package that it lacks."""
    missing = 0
    for suite in sys.argv[1:] or SUITES:
        wanted = read_table().all_packages(suite)
        lacking = sorted(set(wanted) - _packages_of(suite))
        lines = [f"{len(wanted) - len(lacking)} of {len(wanted)} packages exist"]
        lines += [f"there is no package {name}" for name in lacking]
        sys.stdout.writelines(f"{suite}: {line}\n" for line in lines)
        missing += len(lacking)
    return 1 if missing else 0


def _packages_of(suite: str) -> set[str]:
    with tempfile.TemporaryDirectory(prefix="factory-suite-") as name:
        folder = Path(name)
        # apt reads its lists as a user of its own.
        folder.chmod(0o755)
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "sources.list").write_text(apt_sources(suite), encoding="utf-8")
        options = (
            f"Dir::Etc::sourcelist={folder / 'sources.list'}",
            "Dir::Etc::sourceparts=-",
            f"Dir::State::lists={folder / 'lists'}",
            f"Dir::Cache={folder}",
        )
        apt = [word for option in options for word in ("-o", option)]
        process.run(["apt-get", *apt, "update"], timeout=LIST_SECONDS)
        return set(process.run(["apt-cache", *apt, "pkgnames"], timeout=LIST_SECONDS).stdout.split())


if __name__ == "__main__":
    sys.exit(main())
