"""What a developer can do about each root cause, and where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import semver

from factory.consumer.check.causes import Cause
from factory.consumer.check.settings import turns_lto_on
from factory.model import Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.consumer.check.causes import Root
    from factory.consumer.check.places import Place, Places
    from factory.consumer.check.profiles import Offer, ProfileChange
    from factory.consumer.check.settings import Setting

_UNQUOTED = frozenset({"true", "false"})


def place_of(root: Root, settings: Sequence[Setting], crates: Sequence[str], places: Places) -> Place:
    """Return the line that a developer has to look at; `crates` are those that have the cause, as `name@version`."""
    if root.cause is Cause.CARGO_PROFILE:
        return places.profile(root.subject, tuple(setting.key for setting in settings))
    if root.name:
        return _place_of_crate(root, places)
    if root.cause in _NOT_THERE:
        return places.locked(*_name_and_version(crates[0]))
    return _place_of_setting(root, places) or places.manifest


def remedy_of(
    root: Root, settings: Sequence[Setting], sides: Sequence[Side], places: Places, offer: Offer | None
) -> str:
    """Return what to do, in one line; `offer` is the cargo profile to go to, where one gains."""
    match root.cause:
        case Cause.CARGO_PROFILE:
            return _profile_remedy(settings, places, offer)
        case Cause.RUSTFLAGS if root.detail:
            return f"{root.detail}: leave them out of builds that are to be warm"
        case Cause.VERSION:
            return _version_remedy(root)
        case Cause.FEATURES:
            return _features_remedy(root, sides, places)
        case Cause.NOT_PLANNED:
            return _plan_remedy(root.detail)
        case _:
            return _REMEDIES[root.cause].format(root=root)


_TAKE_IN = "let the plan take this repository in"
_NO_PROFILE_GAINS = (
    "warm under profiles of others: by itself no one of them gains here without a loss; `factory plan` with this "
    "repository, or agree on one profile (docs/baseline.md)"
)
_ONLY_CARGO_KNOWS = (
    "warm with `lto`, under which cargo alone can say what is shared: `factory align --profile` asks it, for the "
    f"plan's profile; or {_TAKE_IN}"
)
_NOT_THERE = frozenset({Cause.OTHER_IMAGE, Cause.NOT_COOKED, Cause.NOT_PLANNED})
_REMEDIES = {
    Cause.TOOLCHAIN: "build with rustc {root.warm}: change the pin or drop it; --ignore-pin shows the rest",
    Cause.SOURCES: "build without this table: the image has the downloads, and needs no network for what is warm",
    Cause.RUSTFLAGS: f"remove them, or set them for all in `contract.rustflags`; or {_TAKE_IN}",
    Cause.LINKER: "leave the linker to the image: under one of its own nothing is shared",
    Cause.TARGET: f"build for what is warm ({{root.warm}}); or {_TAKE_IN}",
    Cause.LTO: f"a library that is linked otherwise too (cdylib, staticlib) needs other objects; {_TAKE_IN}",
    Cause.SIDES: _TAKE_IN,
    Cause.DEPENDENCIES: _TAKE_IN,
    Cause.FOREIGN_SOURCE: "use the released crate: it is {root.detail}",
    Cause.PRIVATE_REGISTRY: "let the images' owners name the registry (docs/private-sources.md): it is {root.detail}",
    Cause.OTHER_IMAGE: "build FROM the image {root.subject}",
    Cause.NOT_COOKED: "`factory build` reports why it did not compile",
}
_PLAN_REMEDIES = (
    ("budget", "raise the budget, or report the miss so that it weighs more: --report-to"),
    ("fewer", "lower `min_repos`, or report the miss so that it counts: --report-to"),
    ("never", "the layer's profile keeps it out: ask those who own it"),
    ("only other versions", f"move to a warm semver range (this may break), or {_TAKE_IN}"),
    ("", f"{_TAKE_IN}, or report the miss so that it counts: --report-to"),
)


def _place_of_crate(root: Root, places: Places) -> Place:
    locked = places.locked(root.name, root.version)
    match root.cause:
        case Cause.FOREIGN_SOURCE:
            return places.patched(root.name) or places.dependency(root.name) or locked
        case Cause.FEATURES | Cause.PRIVATE_REGISTRY:
            return places.dependency(root.name) or locked
        case _:
            return locked


def _place_of_setting(root: Root, places: Places) -> Place | None:
    match root.cause:
        case Cause.TOOLCHAIN:
            return places.pin()
        case Cause.SOURCES:
            return places.configured("source", last="replace-with")
        case Cause.RUSTFLAGS:
            return places.configured("build", "rustflags") or places.configured("target", last="rustflags")
        case Cause.LINKER:
            return places.configured("target", last="linker")
        case Cause.TARGET:
            return places.configured("build", "target")
        case _:
            return None


def _profile_remedy(settings: Sequence[Setting], places: Places, offer: Offer | None) -> str:
    named = next((setting for setting in settings if setting.key == "name"), None)
    if named is not None:
        return f"build with the cargo profile that keeps its units in `{named.warm}`; or {_TAKE_IN}"
    if offer is None:
        return _ONLY_CARGO_KNOWS if turns_lto_on(settings) else _NO_PROFILE_GAINS
    tables = offer.change.settings.items()
    return f"{', and '.join(_table_edit(table, those, offer.change, places) for table, those in tables)}; or {_TAKE_IN}"


def _table_edit(table: str, settings: Sequence[Setting], change: ProfileChange, places: Places) -> str:
    """Say which settings to write and which to remove: what is warm by default is best not written."""
    if table == change.removed:
        return f"remove [{table}]"
    defaults = change.defaults if len(table.split(".")) == 2 else {}
    by_default = [s for s in settings if s.warm in {"default", defaults.get(s.key)}]
    removed = [s.key for s in by_default if places.is_set(table, s.key)]
    # Where a default has been changed elsewhere, as in a profile that this one inherits, it has to be written.
    written = [f"{s.key} = {_toml(s)}" for s in settings if s.key not in removed and s.warm != "default"]
    parts = [f"set {', '.join(written)}"] if written else []
    parts += [f"remove {', '.join(removed)}"] if removed else []
    return f"{' and '.join(parts) or 'leave its settings out'} in [{table}]"


def _toml(setting: Setting) -> str:
    """Return the warm value as a manifest has it: `lto` is written `"fat"`, `false`; levels are numbers."""
    text = setting.warm
    return text if text in _UNQUOTED or text.isdigit() else json.dumps(text)


def _version_remedy(root: Root) -> str:
    update = f"cargo update -p {root.name}@{root.version} --precise {root.warm}"
    if root.detail:
        # The plan knows this version: to plan again would leave it out again.
        return f"{root.detail}: {_plan_remedy(root.detail)}; or {update}"
    if semver.Version.parse(root.warm) < semver.Version.parse(root.version):
        return f"plan again, if the plan is older than this lock; or {update}"
    return update


def _plan_remedy(reason: str) -> str:
    return next(remedy for sign, remedy in _PLAN_REMEDIES if sign in reason)


def _features_remedy(root: Root, sides: Sequence[Side], places: Places) -> str:
    parts = []
    if root.missing:
        listed = ", ".join(json.dumps(feature) for feature in root.missing)
        if places.dependency(root.name) is not None:
            parts.append(f"add features [{listed}] to {root.name}")
        else:
            line = f'{root.name} = {{ version = "={root.version}", default-features = false, features = [{listed}] }}'
            tables = {Side.TARGET: "[dependencies]", Side.HOST: "[build-dependencies]"}
            parts.append(f"add to {' and '.join(tables[side] for side in sides) or '[dependencies]'}: {line}")
    if root.extra:
        parts.append(f"`cargo tree -e features -i {root.name}@{root.version}` says who asks for the extra ones")
    return f"{'; '.join(parts)}; or {_TAKE_IN}"


def _name_and_version(label: str) -> tuple[str, str]:
    name, _, version = label.rpartition("@")
    return name, version
