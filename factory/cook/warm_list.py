"""`warm.list`: what a layer holds and how it was cooked, for `warm-doctor`, which has no JSON reader.

One fact a line, words parted by blanks, sorted: `layer`, `cargo-home`, `build-dir` (and as which key of cargo's
configuration it is set: `layout`), `release`, `host` and the lines of `rustc -vV`; `plan LAYER DIGEST` of what it holds
and `chain LAYER...`, the layers of this image from the lowest up; `context ID COMMAND CARGO-PROFILE
TARGET UNITS` for each way in which units were cooked, with its `flags`, its `setting`s that are not cargo's defaults,
and its `override`s; `unit ID CRATE VERSION` for every package.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from factory.files import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from factory.model import UnitKey
    from factory.planning.plan import Plan
    from factory.planning.recipe import RecipeContext

_NO_TARGET = "-"


def warm_list(plan: Plan, layer: str, cooked: Iterable[UnitKey]) -> str:
    """Return the text of a layer's `warm.list`; `cooked` are the units of its own that are there."""
    contexts = _contexts(plan)
    lines = {f"layer {layer}", f"chain {' '.join(plan.chain(layer))}", f"plan {layer} {plan.layer_digest(layer)}"}
    lines |= set(_surroundings(plan))
    units: Counter[RecipeContext] = Counter()
    for key in cooked:
        package = plan.units[key].identity.package
        for context in contexts.get(key, ()):
            units[context] += 1
            lines.add(f"unit {_name(context)} {package.name} {package.version}")
    for context, count in units.items():
        lines.update(_described(context, count))
    return "".join(f"{line}\n" for line in sorted(lines))


def cargo_profiles(plan: Plan) -> Mapping[UnitKey, tuple[str, ...]]:
    """Return for each unit the variants that it was cooked for, such as `release` or `check:dev`."""
    return {
        key: tuple(sorted({_variant(context) for context in contexts})) for key, contexts in _contexts(plan).items()
    }


def _contexts(plan: Plan) -> Mapping[UnitKey, tuple[RecipeContext, ...]]:
    found: dict[UnitKey, dict[RecipeContext, None]] = {}
    for recipe in plan.recipes:
        for key in recipe.keys:
            found.setdefault(key, {})[recipe.context] = None
    return {key: tuple(contexts) for key, contexts in found.items()}


def _variant(context: RecipeContext) -> str:
    name = context.profile.name
    return name if context.command == "build" else f"{context.command}:{name}"


def _surroundings(plan: Plan) -> Iterator[str]:
    toolchain = plan.contract.toolchain
    yield f"build-dir {plan.contract.build_dir}"
    yield f"cargo-home {plan.contract.cargo_home}"
    yield f"host {toolchain.host}"
    yield f"layout {plan.contract.layout.value}"
    yield f"release {toolchain.version}"
    yield from (f"rustc {line}" for line in toolchain.rustc_verbose.splitlines())


def _described(context: RecipeContext, count: int) -> Iterator[str]:
    name = _name(context)
    profile = context.profile
    yield f"context {name} {context.command} {profile.name} {context.platform or _NO_TARGET} {count}"
    yield f"flags {name} {' '.join(context.rustflags)}".rstrip()
    yield from (f"setting {name} {key} {_text(value)}" for key, value in profile.base)
    overrides = (profile.build_override, *(settings for _, settings in profile.packages))
    yield from (f"override {name} {key} {_text(value)}" for settings in overrides for key, value in settings)


def _name(context: RecipeContext) -> str:
    profile = context.profile
    packages = [[package.label, *_pairs(settings)] for package, settings in profile.packages]
    whole = [
        context.command,
        profile.name,
        context.platform,
        list(context.rustflags),
        _pairs(profile.base),
        _pairs(profile.build_override),
        packages,
    ]
    return digest(whole)[:8]


def _pairs(settings: tuple[tuple[str, object], ...]) -> list[list[str]]:
    return [[key, _text(value)] for key, value in settings]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
