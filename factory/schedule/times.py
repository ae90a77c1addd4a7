"""Times in the five fields of cron, which every scheduler but systemd reads, and what systemd makes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from factory.errors import ConfigurationError

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_ITEM = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>\d+))?")
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class CronTime:
    """Five fields of numbers, `*`, lists, ranges and steps: what GitHub, GitLab, Kubernetes and cron all read."""

    minute: str
    hour: str
    day: str
    month: str
    weekday: str

    @classmethod
    def parse(cls, text: str) -> CronTime:
        """Read five fields; raise `ConfigurationError` that names all that is wrong."""
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise ConfigurationError(
                f"--cron {text!r}: {len(fields)} fields, not five",
                advice='Write minute, hour, day, month and weekday: "17 3 * * 1" is Monday, 3:17. Not every scheduler '
                "knows @weekly, or a field of seconds.",
            )
        faults = [_fault(field, *rule) for field, rule in zip(fields, _FIELDS, strict=True)]
        if any(faults):
            raise ConfigurationError(
                f"--cron {text!r}: {'; '.join(filter(None, faults))}", advice='An example: "17 3 * * 1".'
            )
        return cls(*fields)

    def __str__(self) -> str:
        return " ".join((self.minute, self.hour, self.day, self.month, self.weekday))

    @property
    def calendar(self) -> str:
        """What systemd calls the same time; raise `ConfigurationError` where it has no one name for it."""
        if self.day != "*" and self.weekday != "*":
            raise ConfigurationError(
                f"--cron {str(self)!r}: cron takes either of the two days, systemd only what is both",
                advice="Say the day of the month or the day of the week.",
            )
        weekdays = "" if self.weekday == "*" else f"{_weekdays(self.weekday)} "
        date = f"*-{_of_systemd(self.month, 1)}-{_of_systemd(self.day, 1)}"
        return f"{weekdays}{date} {_of_systemd(self.hour, 0)}:{_of_systemd(self.minute, 0)}:00"


def _fault(field: str, name: str, lowest: int, highest: int) -> str:
    """Return what is wrong with a field, "" for nothing."""
    for item in field.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            return f"{name} {field!r} is no number, range, list or step"
        numbers = [int(number) for number in (match["first"], match["last"]) if number is not None]
        if any(not lowest <= number <= highest for number in numbers):
            return f"{name} {field!r} is not within {lowest} to {highest}"
        if numbers != sorted(numbers):
            return f"{name} {field!r} ends before it begins"
        if match["step"] is not None and (int(match["step"]) == 0 or match["first"] is not None is match["last"]):
            return f"{name} {field!r}: a step is behind * or a range"
    return ""


def _of_systemd(field: str, lowest: int) -> str:
    """Return a field of numbers as systemd writes it: ranges with two dots, and a first number for a step."""
    items = field.split(",")
    return ",".join(
        item.replace("*/", f"{lowest}/") if item.startswith("*/") else item.replace("-", "..") for item in items
    )


def _weekdays(field: str) -> str:
    days: set[int] = set()
    for match in filter(None, map(_ITEM.fullmatch, field.split(","))):
        first, last = (0, 6) if match["first"] is None else (int(match["first"]), int(match["last"] or match["first"]))
        days.update(day % 7 for day in range(first, last + 1, int(match["step"] or 1)))
    return ",".join(_WEEKDAYS[day] for day in sorted(days))
