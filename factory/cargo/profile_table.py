"""The `[profile]` table that makes cargo resolve units to the settings they have.

The unit graph shows the result for every unit, whatever it came from: a manifest, a config file, the environment or
cargo's defaults. Going back from the result keeps the recipes independent of where a repository writes its settings.
Only what differs from cargo's defaults is written: an explicit `debug` or `strip` would stop cargo from choosing it
by what lies around a unit. Precedence and defaults: `core/profiles.rs` of cargo 0.96.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.model import Mode, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.model import CargoProfile, PackageId, Unit

Settings = tuple[tuple[str, Any], ...]
"""Sorted pairs of a manifest key and its value."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "dev": {"opt-level": "0", "debug": "2", "debug-assertions": True, "overflow-checks": True},
    "release": {"opt-level": "3", "debug": "0", "debug-assertions": False, "overflow-checks": False},
}
_COMMON_DEFAULTS: Mapping[str, Any] = {
    "codegen-units": None,
    "codegen-backend": None,
    "split-debuginfo": None,
    "lto": "false",
    "panic": "unwind",
    "rpath": False,
}
_INHERITS = {"test": "dev", "bench": "release"}
_OVERRIDABLE = (
    "opt-level",
    "codegen-units",
    "codegen-backend",
    "debug",
    "debug-assertions",
    "overflow-checks",
)
_INTEGERS = frozenset({"0", "1", "2", "3"})


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class ProfileTable:
    """What to write into `[profile.<name>]`, its `build-override` and its `package."name@version"` tables."""

    name: str
    base: Settings
    build_override: Settings
    packages: tuple[tuple[PackageId, Settings], ...]

    def for_packages(self, packages: frozenset[PackageId]) -> ProfileTable:
        """Return the table without overrides for packages that are not there: cargo would warn of them."""
        kept = tuple((package, settings) for package, settings in self.packages if package in packages)
        return ProfileTable(name=self.name, base=self.base, build_override=self.build_override, packages=kept)


def derive_profile_table(units: Iterable[Unit]) -> ProfileTable:
    """Return a table under which cargo gives every one of `units` (all of one cargo profile) its settings.

    Where no table can do that, the caller finds out by resolving the recipe: keys differ.
    """
    compiled = sorted((unit for unit in units if unit.mode is not Mode.RUN_CUSTOM_BUILD), key=lambda unit: unit.key)
    name = compiled[0].profile.name
    defaults = default_settings(name)
    target = [unit for unit in compiled if _side(unit) is Side.TARGET]
    host = [unit for unit in compiled if _side(unit) is Side.HOST]
    base = _base(target or host, defaults) if target else dict(defaults) | _link_settings(host)
    override = _override(host, base)
    if _drops_debug_information_by_hand(compiled, base):
        override["debug"] = "0"
    expected = {
        Side.TARGET: base,
        Side.HOST: base | {"codegen-units": None, "opt-level": "0", "debug": "0"} | override,
    }
    return ProfileTable(
        name=name,
        base=_changed(base, defaults) + _strip_setting(compiled, override.get("debug", base["debug"])),
        build_override=tuple(sorted(override.items())),
        packages=_package_settings(compiled, expected),
    )


def settings_of(profile: CargoProfile) -> dict[str, Any]:
    """Return a resolved profile by the names that manifests use, without `strip`."""
    return {
        "opt-level": profile.opt_level,
        "codegen-units": profile.codegen_units,
        "codegen-backend": profile.codegen_backend,
        "debug": profile.debuginfo,
        "split-debuginfo": profile.split_debuginfo,
        "debug-assertions": profile.debug_assertions,
        "overflow-checks": profile.overflow_checks,
        "lto": profile.lto,
        "panic": profile.panic,
        "rpath": profile.rpath,
    }


def manifest_value(key: str, value: Any) -> Any:  # noqa: ANN401 - a TOML value
    """Return a setting as TOML has it: numbers for levels, booleans for `lto`."""
    if key in {"opt-level", "debug"} and value in _INTEGERS:
        return int(value)
    if key == "lto" and value in {"true", "false"}:
        return value == "true"
    return value


def default_settings(name: str) -> dict[str, Any]:
    """Return the settings that cargo gives a profile where nothing is written, by the names that manifests use."""
    root = _INHERITS.get(name, name)
    return dict(_COMMON_DEFAULTS) | dict(_DEFAULTS.get(root, _DEFAULTS["release"]))


def _side(unit: Unit) -> Side:
    # A unit that both sides share has the target's settings: sharing is what equal settings bring about.
    return Side.TARGET if Side.TARGET in unit.sides else Side.HOST


def _base(target: Sequence[Unit], defaults: Mapping[str, Any]) -> dict[str, Any]:
    profiles = [settings_of(unit.profile) for unit in target]
    base = {key: _most_common(profile[key] for profile in profiles) for key in defaults}
    # An override can set codegen-units, but never unset it.
    if any(profile["codegen-units"] is None for profile in profiles):
        base["codegen-units"] = None
    return base


def _link_settings(host: Sequence[Unit]) -> dict[str, Any]:
    # `lto` and `rpath` hold for the host side too; `panic` does not: there it is always unwind.
    profile = settings_of(host[0].profile) if host else {}
    return {key: profile[key] for key in ("lto", "rpath") if key in profile}


def _override(host: Sequence[Unit], base: Mapping[str, Any]) -> dict[str, Any]:
    if not host:
        return {}
    profiles = [settings_of(unit.profile) for unit in host]
    # Cargo compiles the host side without optimisation and, unless told otherwise, without debug information.
    expected = dict(base) | {"opt-level": "0", "codegen-units": None, "debug": "0"}
    found = {key: _most_common(profile[key] for profile in profiles) for key in _OVERRIDABLE}
    if any(profile["codegen-units"] is None for profile in profiles):
        found["codegen-units"] = None
    # Cargo drops debug information from host units, except where a target unit is the same but for that. A unit
    # without shows that the choice is cargo's; writing `debug` would take it away.
    if any(profile["debug"] == "0" for profile in profiles):
        found["debug"] = "0"
    return {key: value for key, value in found.items() if value != expected[key]}


def _package_settings(
    compiled: Sequence[Unit], expected: Mapping[Side, Mapping[str, Any]]
) -> tuple[tuple[PackageId, Settings], ...]:
    found: dict[PackageId, dict[str, Any]] = {}
    for unit in compiled:
        settings = settings_of(unit.profile)
        side = _side(unit)
        differing = {
            key: settings[key]
            for key in _OVERRIDABLE
            if settings[key] != expected[side][key] and settings[key] is not None
        }
        if side is Side.HOST and settings["debug"] == expected[Side.TARGET]["debug"]:
            differing.pop("debug", None)
        if differing:
            found.setdefault(unit.package, {}).update(differing)
    return tuple((package, tuple(sorted(settings.items()))) for package, settings in sorted(found.items()))


def _drops_debug_information_by_hand(compiled: Sequence[Unit], base: Mapping[str, Any]) -> bool:
    """Cargo strips a host unit when its debug information was switched off, not when cargo itself dropped it."""
    host = [unit.profile for unit in compiled if _side(unit) is Side.HOST]
    stripped = any(profile.debuginfo == "0" and profile.strip == "debuginfo" for profile in host)
    # A unit that both sides share shows that the choice was left to cargo.
    return base["debug"] != "0" and stripped and not any(len(unit.sides) > 1 for unit in compiled)


def _strip_setting(compiled: Sequence[Unit], host_debug: str) -> Settings:
    """Only when it was set by hand: cargo's own choice is to strip where there is no debug information."""
    by_key = {unit.key: unit for unit in compiled}
    by_hand = Counter(
        unit.profile.strip for unit in compiled if unit.profile.strip != _automatic_strip(unit, by_key, host_debug)
    )
    return (("strip", by_hand.most_common(1)[0][0]),) if by_hand else ()


def _automatic_strip(unit: Unit, by_key: Mapping[Any, Unit], host_debug: str) -> str:
    # Cargo chooses before it drops a host unit's debug information, but after it did so for the dependencies.
    dropped = _side(unit) is Side.HOST and unit.profile.debuginfo == "0"
    around = [host_debug if dropped else unit.profile.debuginfo]
    around += [by_key[edge.key].profile.debuginfo for edge in unit.dependencies if edge.key in by_key]
    return "none" if any(debuginfo != "0" for debuginfo in around) else "debuginfo"


def _changed(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Settings:
    return tuple(
        sorted((key, value) for key, value in settings.items() if value != defaults[key] and value is not None)
    )


def _most_common(values: Iterable[Any]) -> Any:  # noqa: ANN401 - a TOML value
    counted = Counter(values)
    most = max(counted.values())
    return min((value for value, count in counted.items() if count == most), key=repr)
