"""The local backend: cooks a plan into a directory, with cargo alone.

The directory holds a CARGO_HOME (`cargo-home`), the build directory (`build`) and a report for each layer (`share`).
A consumer sets `CARGO_HOME=<directory>/cargo-home`. The directory must stay where it is: cargo hashes that path.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import tomlkit

from factory.cargo.ask_index import ASK_ARGS, was_answered, write_questions
from factory.cargo.events import EVENT_ARGS, BuildEvents, parse_events
from factory.cargo.fetching import Fetching
from factory.cargo.home import user_cargo_home
from factory.cargo.layout import Layout
from factory.cook.budgets import over_budget
from factory.cook.isolation import without_network, without_secrets
from factory.cook.local_fetch import FetchAccess, fetch_access
from factory.cook.progress import crate_counter, crates_of
from factory.cook.report import ROOM_ADVICE, LayerReport, contents, contract, report_layer, require_cooked
from factory.cook.sizes import list_sizes, weight
from factory.costs.clock import Clock
from factory.costs.observe import Cooked, Observation, files_below, sizes_by_hash
from factory.costs.record import observe_all
from factory.costs.timings import REPORT as TIMINGS_REPORT
from factory.costs.timings import TIMINGS_ARG, read_timings
from factory.errors import BuildFailedError, ConfigurationError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.files import DISK_FULL, read_json, remove, write_json, write_text
from factory.model import CRATES_IO
from factory.process import Completed, nothing_beside, run
from factory.resources import shipped
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.config.model import BudgetSettings
    from factory.model import UnitKey
    from factory.output import Output
    from factory.planning.plan import Plan
    from factory.planning.recipe import Recipe

MARKER = "WARM-DIRECTORY"
"""The file that makes a directory ours: whatever else lies in it may be replaced."""

MARKER_TEXT = (
    "Signature: b5e0c1f3a87d4e62 rust-warm-factory\n"
    "# `factory build --backend local` made this directory, and replaces what is in it.\n"
)

INCOMPLETE = "INCOMPLETE"
"""Stands in the directory while it is being cooked, and while a verification builds on it.

Nothing may be built on a directory that has it.
"""

_COOKING = "Being cooked, or the cook was interrupted: run `factory build` again.\n"

VERIFYING = (
    "Being verified, or a verification was killed: what a build wrote into cargo-home was not put back then.\n"
    "Run `factory build` again, which makes cargo-home anew.\n"
)
"""What INCOMPLETE says where a verification wrote it."""


def is_warm_directory(folder: Path) -> bool:
    """Whether `folder` was made by this backend, cooked to the end, and put back by every verification since."""
    return is_ours(folder) and (folder / "share").is_dir() and not (folder / INCOMPLETE).exists()


def require_warm(folder: Path) -> None:
    """Raise `ConfigurationError` for what is no warm directory, with what to do."""
    if is_warm_directory(folder):
        return
    if is_ours(folder) and _was_built_on(folder):
        raise ConfigurationError(
            f"{folder}: is being verified, or a verification did not put back what a build wrote into its cargo-home",
            advice="Wait for the end of the verification. Where none runs, cook the directory again: "
            "`factory build --backend local --output DIR`.",
        )
    raise not_cooked(folder)


def not_cooked(folder: Path) -> ConfigurationError:
    """Return what to raise for a directory that was not cooked to the end."""
    return ConfigurationError(
        f"{folder}: not a completely cooked directory",
        advice="Run `factory build --backend local --output DIR` to the end first.",
    )


def local_plan(plan: Plan, folder: Path) -> Plan:
    """Return the plan with the contract that holds for a local directory."""
    moved = replace(plan.contract, cargo_home=str(folder / "cargo-home"), build_dir=str(folder / "build"))
    return replace(plan, contract=moved)


def is_cooked_from(plan: Plan, folder: Path) -> bool:
    """Whether `folder` was cooked to the end, and every layer of it from this plan."""
    if not is_warm_directory(folder):
        return False
    moved = local_plan(plan, folder)
    return all(_cooked_digest(folder, layer.name) == moved.layer_digest(layer.name) for layer in moved.layers)


def cook_locally(
    plan: Plan,
    folder: Path,
    *,
    toolchain: Toolchain,
    output: Output,
    timeout: float,
    budget: BudgetSettings,
    fetching: Fetching | None = None,
    measure: bool = True,
    jobs: int | None = None,
) -> tuple[LayerReport, ...]:
    """Cook every layer of `plan` into `folder` and return what came out; `timeout` seconds for each layer.

    `jobs` is how many of cargo's jobs may run at once, `None` for as many as it likes.

    With `measure`, the reports say what each unit took and weighs. A layer that is over budget says so and is the
    last one; the folder stays incomplete then. Whatever an earlier cook left is replaced, but for what it downloaded:
    that goes too where a verification did not put the CARGO_HOME back.

    Raises `ConfigurationError` when the folder holds something else, and `EnvironmentFaultError` when another build
    uses it or a layer takes too long.
    """
    plan = local_plan(plan, folder)
    _refuse_foreign(folder)
    alone = without_network() if plan.recipes else ()
    if plan.recipes and not alone:
        output.warn("build scripts keep the network here: this user may not take it away with `unshare --net`")
    home = folder / "cargo-home"
    with exclusive(folder / MARKER, using=folder):
        _remove_built_on(folder)
        with fetch_access(fetching or Fetching(), home, toolchain) as access:
            _prepare(plan, folder)
            reports: list[LayerReport] = []
            for layer in plan.layers:
                cook = _Cook(
                    layer=layer.name,
                    budget=budget,
                    budget_bytes=None if layer.budget_bytes is None else budget.whole(layer.budget_bytes),
                    folder=folder,
                    configured=plan.contract.rustflags,
                    layout=plan.contract.layout,
                    toolchain=toolchain,
                    output=output,
                    timeout=timeout,
                    deadline=time.monotonic() + timeout,
                    access=access,
                    alone=alone,
                    measure=measure,
                    jobs=jobs,
                )
                reports.append(_cook_layer(plan, cook, reports))
                if reports[-1].over_budget:
                    return tuple(reports)
            (folder / INCOMPLETE).unlink()
    return tuple(reports)


def build_commands(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Return the commands of cargo that `cook_locally` runs, in order, each in the folder of its recipe."""
    host = plan.contract.toolchain.host
    return tuple(
        ("cargo", *args)
        for recipe in plan.recipes
        for args in (_fetch_args(recipe, host), _compile_args(recipe), recipe.clean_args)
    )


def _fetch_args(recipe: Recipe, host: str) -> tuple[str, ...]:
    # Crates that only the host side needs come along: a recipe names every one, for whatever target.
    return ("fetch", "--locked", "--target", recipe.context.platform or host)


def _compile_args(recipe: Recipe) -> tuple[str, ...]:
    return (*recipe.cargo_args, "--locked", "--offline", "--keep-going")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cook:
    """The cook of one layer: where, with which flags of the CARGO_HOME, and until when by the monotonic clock."""

    layer: str
    budget: BudgetSettings
    budget_bytes: int | None
    """What the layer may weigh."""
    folder: Path
    configured: tuple[str, ...]
    layout: Layout
    toolchain: Toolchain
    output: Output
    timeout: float
    deadline: float
    access: FetchAccess
    alone: tuple[str, ...]
    """The words before a command that take the network from it."""
    measure: bool
    jobs: int | None

    @property
    def home(self) -> Path:
        """The CARGO_HOME."""
        return self.folder / "cargo-home"

    @property
    def folders(self) -> tuple[Path, Path]:
        """The CARGO_HOME and the build directory."""
        return self.home, self.folder / "build"

    def files(self) -> Mapping[str, int]:
        """Return the sizes of all cooked files by path; unpacked sources do not stay."""
        return list_sizes(self.folders, without=[self.home / "registry" / "src"])

    def environment(self, recipe: Recipe) -> dict[str, str]:
        """Return the variables for cargo."""
        return self.toolchain.environment(self.home, recipe.cook_environment(self.configured))

    def cargo(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        before: tuple[str, ...] = (),
        on_stderr: Callable[[str], None] | None = None,
        beside: Callable[[int], AbstractContextManager[None]] = nothing_beside,
    ) -> Completed:
        """Run cargo in the time that the layer has left, and return what it said, whatever its exit code."""
        words = [*before, "cargo", *args]
        return self.run(words, cwd=cwd, environment=environment, on_stderr=on_stderr, beside=beside)

    def run(
        self,
        args: Sequence[str],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        beside: Callable[[int], AbstractContextManager[None]] = nothing_beside,
    ) -> Completed:
        """Run a program in the time that the layer has left, and return what it said, whatever its exit code."""
        try:
            return run(
                args,
                cwd=cwd,
                env=environment,
                timeout=self._seconds_left(),
                check=False,
                on_stderr=on_stderr,
                beside=beside,
            )
        except EnvironmentFaultError:
            self._seconds_left()
            raise

    def _seconds_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise EnvironmentFaultError(
                f"layer {self.layer}: its cook did not finish within {self.timeout:g} s",
                advice="Raise `limits.cook_timeout`.",
            )
        return left


def is_ours(folder: Path) -> bool:
    """Whether `folder` was made by this backend, cooked to the end or not."""
    try:
        return (folder / MARKER).read_bytes() == MARKER_TEXT.encode()
    except OSError:
        return False


def _was_built_on(folder: Path) -> bool:
    """Whether there is an INCOMPLETE that no cook wrote."""
    try:
        return (folder / INCOMPLETE).read_bytes() != _COOKING.encode()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _remove_built_on(folder: Path) -> None:
    """Remove the CARGO_HOME that a verification did not put back: anything in it may be a build script's."""
    if not _was_built_on(folder):
        return
    try:
        remove(folder / "cargo-home")
    except OSError as error:
        raise EnvironmentFaultError(
            f"{error.filename}: left by the build of a verification, and cannot be removed: {error.strerror}",
            advice=f"Remove {folder}, and run the command again.",
        ) from error


def _contract_file(folder: Path, layer: str) -> Path:
    return folder / "share" / layer / "contract.json"


def _cooked_digest(folder: Path, layer: str) -> str:
    """Return the digest of the layer that was cooked, "" where its contract is not there or does not say."""
    try:
        return str(read_json(_contract_file(folder, layer), made_by="factory build")["plan"])
    except (ConfigurationError, KeyError, TypeError):
        return ""


def _refuse_foreign(folder: Path) -> None:
    try:
        inside = {path.name for path in folder.iterdir()} - {MARKER}
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}", advice="Name a new or an empty directory.") from error
    if inside and not is_ours(folder):
        raise ConfigurationError(
            f"{folder}: holds something that factory did not put there, {min(inside)} for one",
            advice="Name a new or an empty directory.",
        )


def _prepare(plan: Plan, folder: Path) -> None:
    # In place, as this very file is locked.
    (folder / MARKER).write_text(MARKER_TEXT, encoding="utf-8")
    write_text(folder / INCOMPLETE, _COOKING)
    for stale in (folder / "build", folder / "share"):
        remove(stale)
    (folder / "share").mkdir()
    # A file, not variables: cargo's fingerprints and other tools take no notice of a file.
    build: dict[str, Any] = {plan.contract.layout.value: plan.contract.build_dir}
    if plan.contract.rustflags:
        build["rustflags"] = list(plan.contract.rustflags)
    settings = {"build": build, "cache": {"auto-clean-frequency": "never"}}
    # Cargo would read this old name instead.
    remove(folder / "cargo-home" / "config")
    write_text(folder / "cargo-home" / "config.toml", tomlkit.dumps(settings))


def _cook_layer(plan: Plan, cook: _Cook, below: Sequence[LayerReport]) -> LayerReport:
    started = time.monotonic()
    before = cook.files()
    with scratch("factory-layer-") as notes:
        # Older than whatever this layer writes.
        write_text(notes / "stamp", "")
        write_text(notes / "locked.list", plan.locked_list(layer.name for layer in plan.layers))
        _ask_index(plan, cook)
        events, cooked = _cook_recipes(plan, cook)
        if events:
            _prune(notes, cook)
    report = replace(
        report_layer(plan, cook.layer, events, seconds=time.monotonic() - started),
        observed=_observed(plan, cook, cooked),
        weight=weight(cook.files(), before, plan.crates),
        budget_bytes=cook.budget_bytes,
    )
    report = replace(report, over_budget=over_budget((*below, report), total=cook.budget.total))
    write_json(cook.folder / "share" / cook.layer / "contents.json", contents(plan, report))
    write_json(_contract_file(cook.folder, cook.layer), contract(plan, cook.layer))
    return report


def _ask_index(plan: Plan, cook: _Cook) -> None:
    """Bring the index entries of what repositories lock and no recipe does into the CARGO_HOME."""
    environment = {**cook.toolchain.environment(cook.home), **cook.access.environment}
    with scratch("factory-index-") as folder:
        for question in write_questions(plan.to_ask(cook.layer), folder):
            answer = cook.cargo((*ASK_ARGS, *cook.access.arguments), cwd=question, environment=environment)
            if not was_answered(answer.stderr):
                raise EnvironmentFaultError(
                    f"layer {cook.layer}: the registry's index does not answer:\n{answer.stderr.strip()[-1500:]}",
                    advice="Check the network and the registry, and run the command again.",
                )
            for path in (question / "index.paths").read_text(encoding="utf-8").splitlines():
                if not any((cook.home / "registry" / "index").glob(f"*/.cache/{path}")):
                    cook.output.warn(f"{path.rpartition('/')[2]}: locked, and the registry does not know it")


def _cook_recipes(
    plan: Plan, cook: _Cook
) -> tuple[list[tuple[Recipe, BuildEvents]], list[tuple[tuple[UnitKey, ...], Cooked]]]:
    """Cook the recipes of a layer; return what cargo said of each, and what was measured where it was."""
    events = []
    cooked: list[tuple[tuple[UnitKey, ...], Cooked]] = []
    recipes = plan.recipes_of(cook.layer)
    for number, recipe in enumerate(recipes, start=1):
        label = f"{cook.layer}: recipe {number}/{len(recipes)}"
        with scratch("factory-cook-") as work:
            recipe.write(work, configured=cook.configured)
            _fetch(recipe, work, label, cook)
            said, seen = _compile(recipe, work, label, cook)
            events.append((recipe, said))
            cooked += [] if seen is None else [(recipe.keys, seen)]
    return events, cooked


def _prune(notes: Path, cook: _Cook) -> None:
    """Remove what no consumer needs, by the same rules as in an image."""
    script = shipped("Dockerfiles") / "prune.sh"
    said = cook.run(["sh", str(script), str(notes / "stamp"), str(notes / "locked.list"), *map(str, cook.folders)])
    for line in said.stderr.splitlines():
        cook.output.detail(f"{cook.layer}: {line}")
    if not said.ok:
        raise BuildFailedError(f"layer {cook.layer}: `{said.command}` failed:\n{said.stderr.strip()[-1500:]}")


def _observed(
    plan: Plan, cook: _Cook, cooked: Sequence[tuple[tuple[UnitKey, ...], Cooked]]
) -> dict[UnitKey, Observation]:
    if not cooked:
        return {}
    units = {key: planned.unit for key, planned in plan.units.items()}
    return observe_all(units, cooked, sizes_by_hash(files_below(cook.folder / "build")))


def _fetch(recipe: Recipe, work: Path, label: str, cook: _Cook) -> None:
    _seed(recipe, cook.home)
    args = (*_fetch_args(recipe, cook.toolchain.host), *cook.access.arguments)
    fetched = cook.cargo(args, cwd=work, environment={**cook.environment(recipe), **cook.access.environment})
    if not fetched.ok:
        if DISK_FULL.search(fetched.stderr):
            raise BuildFailedError(
                f"{label}: no space left on device for its crates\n{fetched.stderr.strip()[-1500:]}", advice=ROOM_ADVICE
            )
        what = _not_fetched(recipe, cook.home, fetched.stderr)
        raise EnvironmentFaultError(
            f"{label}: cannot fetch {what}:\n{fetched.stderr.strip()[-1500:]}",
            advice="Check the network and the registry, and run the command again.",
        )


def _compile(recipe: Recipe, work: Path, label: str, cook: _Cook) -> tuple[BuildEvents, Cooked | None]:
    # Build scripts and macros run from here on: they have no business with what logs in somewhere.
    environment = without_secrets(cook.environment(recipe))
    target, clock = work / "target", Clock()
    # In the one directory of an older cargo, the timings would stay among the units.
    measuring = (TIMINGS_ARG,) if cook.measure and cook.layout is Layout.BUILD_DIR else ()
    jobs = () if cook.jobs is None else ("--jobs", str(cook.jobs))
    args = [*_compile_args(recipe), *jobs, *measuring, *cook.layout.apart(str(target))]
    crates = crates_of([recipe])
    with cook.output.progress(label, len(crates)) as advance:
        on_line = crate_counter(crates, advance)
        answer = cook.cargo(
            [*args, *EVENT_ARGS],
            cwd=work,
            environment=environment,
            before=cook.alone,
            on_stderr=on_line,
            beside=clock.watching,
        )
    events = parse_events(answer.stdout, answer.stderr)
    require_cooked(label, events, exit_code=answer.returncode, log=answer.stderr)
    # Two path packages of one name in a build directory can give a wrong binary: nothing of the recipe itself stays.
    cleaned = cook.cargo(recipe.clean_args, cwd=work, environment=environment)
    if not cleaned.ok:
        raise BuildFailedError(f"{label}: cannot remove the recipe's own units:\n{cleaned.stderr.strip()[-1500:]}")
    return events, _seen(answer, target / TIMINGS_REPORT, clock)


def _seen(answer: Completed, timings: Path, clock: Clock) -> Cooked | None:
    """Return what the cook tells of its units; `None` without timings."""
    if not timings.exists():
        return None
    spells = read_timings(timings.read_text(encoding="utf-8"))
    return Cooked(messages=answer.stdout, spells=spells, ticks=clock.ticks)


def _seed(recipe: Recipe, home: Path) -> None:
    """Take crates that the user's cargo has downloaded already, where their checksum is the lock's."""
    downloads = user_cargo_home() / "registry" / "cache"
    for folder in downloads.glob("*") if downloads.is_dir() else ():
        for name, checksum in _crate_files(recipe):
            source = folder / name
            target = home / "registry" / "cache" / folder.name / name
            if source.is_file() and not target.exists() and _sha256(source) == checksum:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def _not_fetched(recipe: Recipe, home: Path, said: str) -> str:
    """Name the crates that are not here: of these the ones that cargo speaks of, where it does."""
    here = {path.name for path in (home / "registry" / "cache").glob("*/*.crate")}
    missing = sorted(
        entry.package for entry in recipe.packages if f"{entry.package.name}-{entry.package.version}.crate" not in here
    )
    blamed = [
        package
        for package in missing
        if re.search(rf"\b{re.escape(package.name)}(?:[-/@]| v?){re.escape(package.version)}\b", said)
    ]
    first, *others = [f"{package.name} {package.version}" for package in dict.fromkeys(blamed or missing)] or [
        "its crates"
    ]
    return f"{first} and {len(others)} more" if others else first


def _crate_files(recipe: Recipe) -> Iterable[tuple[str, str]]:
    wanted = {entry.package for entry in recipe.packages}
    for entry in recipe.parsed_lock.packages:
        if entry.package in wanted and entry.package.source == CRATES_IO and entry.checksum is not None:
            yield f"{entry.package.name}-{entry.package.version}.crate", entry.checksum


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
