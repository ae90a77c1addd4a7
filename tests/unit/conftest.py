"""The fast ring's guard: no program is started and nothing but loopback is reached, and no variable leaks in.

Tests marked `runs_programs` may start programs (git, pip, cargo); loopback is the limit for them too, as
far as this process goes.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_STARTS = frozenset({"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty"})
_REACHES = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}
"""Audit events of the network, with the position of the address among their arguments."""

_LEAKS = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "NO_COLOR", "TERM")


class _Guard:
    """An audit hook, as it catches every way to start a program; it cannot be removed, only told to rest."""

    def __init__(self) -> None:
        self.on = False
        self.programs = False

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if not self.on:
            return
        if event in _STARTS and not self.programs:
            # A failure is no Exception: the code under test cannot swallow it.
            pytest.fail(f"the fast ring starts no programs: {event} {args[:2]}; mark the test `runs_programs`")
        if event in _REACHES and not _is_loopback(args[_REACHES[event]]):
            pytest.fail(f"the tests reach nothing but loopback: {event} {args[_REACHES[event]]}")


_guard = _Guard()
sys.addaudithook(_guard)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Guard a test with all of its fixtures, those of wider scope too."""
    _guard.on = True
    _guard.programs = item.get_closest_marker("runs_programs") is not None
    try:
        return (yield)
    finally:
        _guard.on = False


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in _LEAKS or (name.startswith("FACTORY_") and name != "FACTORY_CACHE_DIR"):
            monkeypatch.delenv(name)


def _is_loopback(address: object) -> bool:
    host = address[0] if isinstance(address, tuple) else address
    if host is None or host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:  # another host's name, or the path of a socket such as Docker's
        return False
