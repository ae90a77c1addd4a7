"""Every failure a user can meet: one class for each exit code, each with what happened and what to do."""

from typing import ClassVar


class FactoryError(Exception):
    """A failure we explain: `what` happened, and (`advice`) what the user can do about it."""

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.what}\n{self.advice}" if self.advice else self.what


class BadAnswerError(FactoryError):
    """The command ran, and its answer is bad: verification failed, drift found, nothing could be resolved."""

    exit_code = 1


class ConfigurationError(FactoryError):
    """Usage or configuration is wrong."""

    exit_code = 2


class NothingToDoError(FactoryError):
    """All is as it should be already: to a schedule, that is success."""

    exit_code = 3


class EnvironmentFaultError(FactoryError):
    """A tool (docker, buildx, git, cargo) is missing, too old or unreachable."""

    exit_code = 4


class BuildFailedError(FactoryError):
    """A cook or an image build failed."""

    exit_code = 5


class RegistryFaultError(FactoryError):
    """A container registry, a push or a signature failed."""

    exit_code = 6


class TagTakenError(RegistryFaultError):
    """A tag that never moves stands for other images already."""
