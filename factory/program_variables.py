"""The `FACTORY_*` variables that set no key of the configuration: this is the only list of them."""

from __future__ import annotations

import enum


class ProgramVariable(enum.StrEnum):
    """A variable that the program, or a script beside it, reads itself."""

    ADVISORY_DB = "FACTORY_ADVISORY_DB"
    CACHE_DIR = "FACTORY_CACHE_DIR"
    CELL = "FACTORY_CELL"
    CONFIG = "FACTORY_CONFIG"
    DEBUG = "FACTORY_DEBUG"
    ENGINE_DIR = "FACTORY_ENGINE_DIR"
    PLAN = "FACTORY_PLAN"
    PLATFORM = "FACTORY_PLATFORM"
    PROFILES = "FACTORY_PROFILES"
    PYTHON = "FACTORY_PYTHON"
    REPORT_AS = "FACTORY_REPORT_AS"
    REPORT_TOKEN = "FACTORY_REPORT_TOKEN"  # noqa: S105 - the name of a variable, not a secret
    TEST_PATIENCE = "FACTORY_TEST_PATIENCE"
