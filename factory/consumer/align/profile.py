"""The step `profile`: the cargo profile that most repositories have, and what it changes in the programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.items import AbstractTable, InlineTable

from factory.cargo.profile_table import default_settings, manifest_value
from factory.consumer.align.documents import document_of, text_of
from factory.consumer.align.model import Change
from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.analysis.model import VariantUse
    from factory.planning.baseline import BaselineProfile

EFFECTS: Mapping[str, str] = {
    "lto": "how far the linker optimises across crates: without it programs are larger and often slower, links quicker",
    "codegen-units": "in how many parts a crate is compiled: one gives faster programs and slower builds",
    "panic": "what a panic does: with `abort` nothing unwinds, so `catch_unwind` and joining a thread see no panic",
    "opt-level": "how much the compiler optimises: speed and size of the program",
    "strip": "which symbols stay in the program: without them it is smaller, and backtraces have no names",
    "debug": "how much debug information there is: what a debugger shows, and lines in backtraces",
    "debug-assertions": "whether `debug_assert!` is checked in the program",
    "overflow-checks": "whether arithmetic that overflows panics or wraps",
    "split-debuginfo": "in which files debug information is",
    "rpath": "where the program looks for shared libraries",
    "codegen-backend": "which code generator is used",
}
"""What settings decide in a program, by their names in a cargo profile, which `-C` has as well."""
_OVERRIDE = "build-override"


def profile_changes(use: VariantUse, baseline: BaselineProfile) -> tuple[Change, ...]:
    """Return each setting that differs from the baseline's, with what it changes in the program."""
    if use.profile is None:
        return ()
    name = baseline.table.name
    defaults = default_settings(name) | {"strip": None}
    rows = _rows(f"[profile.{name}]", dict(use.profile.base), dict(baseline.table.base), defaults)
    override = f"[profile.{name}.{_OVERRIDE}]"
    rows += _rows(override, dict(use.profile.build_override), dict(baseline.table.build_override), {})
    rows += [
        Change(f"[profile.{name}.package.{package.name}]", f"{', '.join(dict(settings))}: own settings of one crate")
        for package, settings in use.profile.packages
    ]
    return tuple(rows)


def with_profile(text: str, use: VariantUse, baseline: BaselineProfile, shown: str = "Cargo.toml") -> str:
    """Return the root manifest with the baseline's settings in `[profile.<name>]`; comments and format stay.

    Raises `ConfigurationError` where its form, `shown` so, cannot be kept.
    """
    if use.profile is None:
        return text
    document = document_of(text, shown)
    table = _table(document, "profile", baseline.table.name)
    _settle(table, dict(use.profile.base), dict(baseline.table.base))
    override = dict(use.profile.build_override), dict(baseline.table.build_override)
    if override[0] != override[1]:
        _settle(_table(table, _OVERRIDE), *override)
        if not table[_OVERRIDE]:
            table.pop(_OVERRIDE)
    if use.profile.packages:
        table.pop("package", None)
    elif use.profile.build_override != baseline.table.build_override or use.profile.base != baseline.table.base:
        _settle_everywhere(table, baseline)
    _remove_empty(document, baseline.table.name)
    return text_of(document, shown)


def _rows(place: str, mine: dict[str, Any], common: dict[str, Any], defaults: Mapping[str, Any]) -> list[Change]:
    return [
        Change(
            f"{place} {key}",
            f"{_shown(key, mine, defaults)} -> {_shown(key, common, defaults)}: {EFFECTS.get(key, 'see cargo')}",
        )
        for key in sorted(mine.keys() | common.keys())
        if mine.get(key) != common.get(key)
    ]


def _shown(key: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    if key in settings:
        return str(settings[key])
    default = defaults.get(key)
    return "cargo's choice" if default is None else f"{default} (cargo's default)"


def _settle(table: AbstractTable, mine: Mapping[str, Any], common: Mapping[str, Any]) -> None:
    for key in sorted(mine.keys() | common.keys()):
        if mine.get(key) == common.get(key):
            continue
        if key in common:
            table[key] = manifest_value(key, common[key])
        else:
            table.pop(key, None)


def _settle_everywhere(table: AbstractTable, baseline: BaselineProfile) -> None:
    """Take away what `package."*"` sets: for dependencies, build scripts' too, it goes before all that was settled."""
    packages = table.get("package", {})
    everywhere = packages.pop("*", {})
    common = default_settings(baseline.table.name) | dict(baseline.table.base)
    for key in everywhere:
        # The workspace's own packages had the profile's value, all others had this one.
        wanted = manifest_value(key, common.get(key))
        if key in table and table[key] != wanted:
            if key in dict(baseline.table.base):
                table[key] = wanted
            else:
                table.pop(key)
    if "package" in table and not packages:
        table.pop("package")


def _table(parent: Any, *names: str) -> AbstractTable:  # noqa: ANN401 - tomlkit's containers
    current = parent
    for name in names:
        if name not in current:
            # An inline table can have no others in it.
            inline = isinstance(current, InlineTable)
            current[name] = tomlkit.inline_table() if inline else tomlkit.table(is_super_table=name == "profile")
        current = current[name]
    if not isinstance(current, AbstractTable):
        raise ConfigurationError(f"`{'.'.join(names)}` is no table", advice="Mend the manifest.")
    return current


def _remove_empty(document: tomlkit.TOMLDocument, name: str) -> None:
    profiles = document.get("profile")
    if profiles is not None and name in profiles and not profiles[name]:
        profiles.pop(name)
        if not profiles:
            document.pop("profile")
