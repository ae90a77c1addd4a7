"""SOURCE_DATE_EPOCH: the day of a build, and the time of every file in it.

https://reproducible-builds.org/specs/source-date-epoch/ says what the variable means.
"""

from __future__ import annotations

import os
import time

from factory.errors import ConfigurationError

DEFAULT_EPOCH = 315_532_800
"""1980-01-01: the time of every file in a layer unless SOURCE_DATE_EPOCH says otherwise, so that equal plans give
equal bytes. Nothing earlier can be kept in a zip file."""

_LAST_EPOCH = 253_402_300_799
"""The last second of the year 9999, the last one that can be written as a date."""


def build_date() -> str:
    """Return the day of a build as YYYYMMDD, in UTC: today, or that of SOURCE_DATE_EPOCH."""
    chosen = chosen_epoch()
    return time.strftime("%Y%m%d", time.gmtime(time.time() if chosen is None else chosen))


def chosen_epoch() -> int | None:
    """Return SOURCE_DATE_EPOCH, in seconds since 1970, `None` where it is not set.

    Raises `ConfigurationError` for one that is no such number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= _LAST_EPOCH):
        raise ConfigurationError(
            f"SOURCE_DATE_EPOCH={text}: not a time", advice="Write seconds since 1970, or unset the variable."
        )
    return int(text)
