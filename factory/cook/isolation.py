"""Taking from a program of this machine what foreign code has no business with.

That is the network, where the kernel lets this user do so, and what logs in somewhere.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from factory.errors import EnvironmentFaultError
from factory.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET = re.compile(r".*(TOKEN|SECRET|PASSWORD|CREDENTIAL).*|AWS_.*|SSH_AUTH_SOCK", re.IGNORECASE)
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


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables whose names say that they let somebody in somewhere."""
    return {name: value for name, value in environment.items() if _SECRET.fullmatch(name) is None}
