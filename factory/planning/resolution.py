"""Has cargo resolve each recipe, without compiling, to prove that it makes exactly the wanted units.

A recipe that cargo resolves otherwise is split into one for each of its roots; what then still differs is left out,
with everything above it. Nothing is cooked on a guess.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from factory.cargo.resolve import UNIT_GRAPH_ARGS, UNIT_GRAPH_ENVIRONMENT, Trouble, explain
from factory.cargo.unit_graph import Surroundings, parse_unit_graph
from factory.errors import EnvironmentFaultError
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.model import UnitKey
    from factory.planning.recipe import Recipe
    from factory.process import Completed


RESOLVE_SECONDS = 300.0

OTHER_UNITS = "cargo resolves the recipe to other units than the repository's"
"""Why a unit is not reproduced whose recipe cargo resolves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreproduced:
    """Units that no recipe reproduces, and why."""

    keys: frozenset[UnitKey]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Recipes as cargo resolves them, with its own final lock, and what could not be reproduced."""

    recipes: tuple[Recipe, ...]
    unreproduced: tuple[Unreproduced, ...]


def resolve_recipes(
    recipes: Sequence[Recipe],
    *,
    split: Callable[[Recipe], Sequence[Recipe]],
    toolchain: Toolchain,
    cargo_home: Path,
    jobs: int,
    advance: Callable[[str], None],
) -> Resolved:
    """Resolve every recipe; `split` gives the parts of one that cargo resolves otherwise."""

    def attempt(recipe: Recipe) -> Resolved:
        done = _resolve_or_split(recipe, split=split, toolchain=toolchain, cargo_home=cargo_home)
        advance(recipe.name)
        return done

    with ThreadPoolExecutor(jobs) as pool:
        parts = list(pool.map(attempt, recipes))
    return Resolved(
        recipes=tuple(sorted((recipe for part in parts for recipe in part.recipes), key=lambda recipe: recipe.name)),
        unreproduced=tuple(loss for part in parts for loss in part.unreproduced),
    )


def _resolve_or_split(
    recipe: Recipe, *, split: Callable[[Recipe], Sequence[Recipe]], toolchain: Toolchain, cargo_home: Path
) -> Resolved:
    attempt = _resolve(recipe, toolchain=toolchain, cargo_home=cargo_home)
    if not attempt.unreproduced:
        return attempt
    parts = split(recipe)
    if len(parts) <= 1:
        return attempt
    resolved = [_resolve(part, toolchain=toolchain, cargo_home=cargo_home) for part in parts]
    made = frozenset(key for part in resolved for whole in part.recipes for key in whole.keys)
    losses = (loss for part in resolved for loss in part.unreproduced)
    return Resolved(
        recipes=tuple(whole for part in resolved for whole in part.recipes),
        unreproduced=tuple(replace(loss, keys=loss.keys - made) for loss in losses if loss.keys - made),
    )


def _resolve(recipe: Recipe, *, toolchain: Toolchain, cargo_home: Path) -> Resolved:
    with scratch("factory-recipe-") as folder:
        recipe.write(folder)
        answer = _unit_graph(recipe, folder, toolchain=toolchain, cargo_home=cargo_home)
        if not answer.ok:
            trouble = explain(answer.stderr, hide=str(folder))
            if trouble.trouble is Trouble.NETWORK:
                raise EnvironmentFaultError(f"cannot resolve a recipe: {trouble.detail}")
            reason = f"cargo cannot resolve the recipe: {trouble.detail}"
            return Resolved(recipes=(), unreproduced=(Unreproduced(keys=frozenset(recipe.keys), reason=reason),))
        final = replace(recipe, lock=(folder / "Cargo.lock").read_text(encoding="utf-8"))
        commits = final.parsed_lock.commits
        units = parse_unit_graph(answer.stdout, _surroundings(recipe, toolchain), commits=commits)
        made = frozenset(unit.key for unit in units)
    missing = frozenset(recipe.keys) - made
    if not missing:
        return Resolved(recipes=(final,), unreproduced=())
    kept = replace(final, keys=tuple(sorted(frozenset(recipe.keys) & made)))
    return Resolved(
        recipes=(kept,) if kept.keys else (), unreproduced=(Unreproduced(keys=missing, reason=OTHER_UNITS),)
    )


def _unit_graph(recipe: Recipe, folder: Path, *, toolchain: Toolchain, cargo_home: Path) -> Completed:
    """Ask cargo, first without the network: what the analysis has downloaded gives the same answer on every day."""
    ask = partial(
        toolchain.cargo, cwd=folder, cargo_home=cargo_home, extra=UNIT_GRAPH_ENVIRONMENT, timeout=RESOLVE_SECONDS
    )
    args = [*recipe.cargo_args, *UNIT_GRAPH_ARGS]
    answer = ask([*args, "--offline"])
    return answer if answer.ok else ask(args)


def _surroundings(recipe: Recipe, toolchain: Toolchain) -> Surroundings:
    return Surroundings(rustc=toolchain.rustc_verbose, rustflags={recipe.context.platform: recipe.context.rustflags})
