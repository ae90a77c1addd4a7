"""Settings of cargo profiles that differ between two units, and the table of a manifest that decides each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from factory.model import Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.model import CargoProfile, Unit

BUILD_OVERRIDE = "build-override"
EVERY_PACKAGE = "*"
MANIFEST_KEYS: Mapping[str, str] = {
    "directory": "name",
    "opt_level": "opt-level",
    "lto": "lto",
    "codegen_backend": "codegen-backend",
    "codegen_units": "codegen-units",
    "debuginfo": "debug",
    "split_debuginfo": "split-debuginfo",
    "debug_assertions": "debug-assertions",
    "overflow_checks": "overflow-checks",
    "rpath": "rpath",
    "panic": "panic",
    "strip": "strip",
    "trim_paths": "trim-paths",
    "rustflags": "rustflags",
}
"""The fields of a `CargoProfile` by which units differ, each by its name in manifests."""

HOST_DEFAULTS: Mapping[str, Any] = {"opt_level": "0", "codegen_units": None, "debuginfo": "0"}
"""What cargo gives build scripts and macros, whatever the profile itself says."""

OVERRIDABLE = (*HOST_DEFAULTS, "codegen_backend", "debug_assertions", "overflow_checks")
"""The fields that `build-override` and `package` tables may set; all others are those of the profile itself."""

WITHOUT_LTO = frozenset({"false", "off"})
"""What `lto` says where nothing is optimised across crates, and no library has to hold bitcode."""

_OVERRIDABLE_KEYS = frozenset(MANIFEST_KEYS[name] for name in OVERRIDABLE)
_HOST_KEYS = frozenset(MANIFEST_KEYS[name] for name in HOST_DEFAULTS)


class Setting(NamedTuple):
    """A setting of a cargo profile that differs, by its name in manifests."""

    key: str
    warm: str
    yours: str


def changed_settings(mine: CargoProfile, theirs: CargoProfile) -> tuple[Setting, ...]:
    """Return what differs between a repository's profile of a unit and a warm one, without what only follows."""
    if mine is theirs:
        return ()
    changed = settings_between(mine, theirs, MANIFEST_KEYS)
    if any(setting.key == "debug" for setting in changed):
        # Cargo strips where nothing has debug information, unless told otherwise: a consequence, not a cause.
        changed = tuple(s for s in changed if s.key != "strip" or "symbols" in (s.warm, s.yours))
    return changed


def turns_lto_on(settings: Iterable[Setting]) -> bool:
    """Whether a repository without LTO is held against a profile with: what that would gain is not forecast."""
    return any(s.key == "lto" and s.yours in WITHOUT_LTO and s.warm not in WITHOUT_LTO for s in settings)


def settings_between(mine: CargoProfile, theirs: CargoProfile, fields: Iterable[str]) -> tuple[Setting, ...]:
    """Return those of some fields that differ."""
    return tuple(
        Setting(MANIFEST_KEYS[name], shown(getattr(theirs, name)), shown(getattr(mine, name)))
        for name in fields
        if getattr(mine, name) != getattr(theirs, name)
    )


def shown(value: object) -> str:
    """Return a setting as people read it; `default` where rustc decides."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(value) or "none" if isinstance(value, tuple) else str(value)


def automatic_strip(debuginfo: str) -> str:
    """Return what cargo strips where nothing says so."""
    return "debuginfo" if debuginfo == "0" else "none"


def package_table(unit: Unit, profile: str, overrides: frozenset[str]) -> str | None:
    """Return the table with settings of the unit's package in a cargo profile; `None` where it has none."""
    name, version = unit.package.name, unit.package.version
    for spec in (f"{name}@{version}", f"{name}:{version}", name, EVERY_PACKAGE):
        if spec in overrides:
            return f"profile.{profile}.package.{spec}"
    return None


def by_table(
    unit: Unit, settings: Iterable[Setting], profile: str, overrides: frozenset[str]
) -> dict[str, tuple[Setting, ...]]:
    """Return settings of a unit by the table of the cargo profile that decides them."""
    settings = tuple(settings)
    package = package_table(unit, profile, overrides)
    override = f"profile.{profile}.{BUILD_OVERRIDE}"
    is_host = unit.sides == {Side.HOST}
    of_host = is_host and BUILD_OVERRIDE in overrides
    found: dict[str, list[Setting]] = {}
    for setting in settings:
        table = f"profile.{profile}"
        if setting.key in _OVERRIDABLE_KEYS:
            table = package or (override if of_host or (is_host and setting.key in _HOST_KEYS) else table)
        elif setting.key == "strip":
            # A table for some units alone takes what the profile strips from them: cargo chooses again.
            by_override = of_host or (is_host and any(other.key in _HOST_KEYS for other in settings))
            table = package or (override if by_override else table)
        found.setdefault(table, []).append(setting)
    return {table: tuple(sorted(those)) for table, those in found.items()}
