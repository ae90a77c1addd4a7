"""Taking the network away from a program of this machine, where the kernel lets this user do so."""

from __future__ import annotations

import os

from factory.errors import EnvironmentFaultError
from factory.process import run

_PROBE_SECONDS = 20.0


def without_network() -> tuple[str, ...]:
    """Return the words to put before a command that is to run without a network; none where that is not allowed."""
    # As any other user than root it takes a user namespace, in which this user keeps its number.
    words = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-current-user", "--net")
    try:
        allowed = run([*words, "true"], check=False, timeout=_PROBE_SECONDS).ok
    except EnvironmentFaultError:
        # No such program here.
        return ()
    return words if allowed else ()
