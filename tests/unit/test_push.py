"""Tags that move together: whatever stops one of them, none is left alone where it has moved to."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from factory.errors import EnvironmentFaultError, RegistryFaultError
from factory.output import Output
from factory.publish import push as push_stage
from factory.publish.push import Push, _Move, _move_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

LAYERS = ("core", "web")
OLD = {layer: f"old-{layer}" for layer in LAYERS}
NEW = {layer: f"new-{layer}" for layer in LAYERS}


def nothing() -> None:
    """Let a call do what it should."""


@dataclass
class Repository:
    """Tags in a registry, by the digests they stand for; `troubles` happen in the calls that move them, in order."""

    troubles: Sequence[Callable[[], None]] = ()
    tags: dict[str, str] = field(default_factory=lambda: dict(OLD))
    calls: int = 0

    def manifest(self, tag: str) -> Any:  # noqa: ANN401 - what has a digest
        return SimpleNamespace(digest=self.tags[tag])

    def join(self, sources: Sequence[str], names: Sequence[str]) -> None:
        trouble = self.troubles[self.calls] if self.calls < len(self.troubles) else nothing
        self.calls += 1
        trouble()
        (source,) = sources
        self.tags |= {name.rpartition(":")[2]: source.rpartition("@")[2] for name in names}

    def move(self) -> None:
        """Move the tag of every layer from old to new."""
        moves = [
            _Move(layer=cast("Any", SimpleNamespace(layer=tag, moving=(tag,))), before={tag: OLD[tag]}, index=NEW[tag])
            for tag in LAYERS
        ]
        there = cast("Any", self)
        request = Push(
            repository="r", layers=(), engine=there, registry=there, uploads=there, signer=None, output=Output()
        )
        _move_all(request, moves)


def raising(error: BaseException) -> Callable[[], None]:
    """Return a call that fails."""

    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def ending() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as `factory` has it."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "error",
    [
        RegistryFaultError("it did not answer"),
        EnvironmentFaultError("cannot start `docker`: Cannot allocate memory"),
        OSError("the terminal is gone"),
        SystemExit(143),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_stops_a_tag_those_that_moved_go_back(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    there = Repository([nothing, raising(error)])
    with pytest.raises(type(error)) as raised:
        there.move()
    assert raised.value is error
    assert there.tags == OLD
    assert "moved back: core" in capsys.readouterr().err


@pytest.mark.usefixtures("ending")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_waits_until_all_tags_have_moved(number: signal.Signals) -> None:
    there = Repository([nothing, lambda: signal.raise_signal(number)])
    with pytest.raises(SystemExit) as ended:
        there.move()
    assert ended.value.code == 128 + number
    assert there.tags == NEW


@pytest.mark.usefixtures("ending")
def test_an_interruption_waits_until_all_tags_are_back(capsys: pytest.CaptureFixture[str]) -> None:
    fault = raising(RegistryFaultError("it did not answer"))
    there = Repository([nothing, fault, lambda: signal.raise_signal(signal.SIGTERM)])
    with pytest.raises(SystemExit):
        there.move()
    assert there.tags == OLD
    # Where tags stand is said though something else ends the program.
    assert "moved back: core" in capsys.readouterr().err


def test_a_tag_that_does_not_go_back_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(push_stage, "_require_unmoved", lambda *_: None)
    fault = raising(EnvironmentFaultError("cannot start `docker`"))
    # Both have moved when the second call fails: the registry took it, and nobody heard so.
    there = Repository([nothing, fault, fault])
    there.tags["web"] = NEW["web"]
    with pytest.raises(EnvironmentFaultError):
        there.move()
    assert there.tags == {"core": NEW["core"], "web": OLD["web"]}
    said = capsys.readouterr().err
    assert "moved back: web" in said
    assert "not known whether moved: core (from old-core to new-core)" in said
