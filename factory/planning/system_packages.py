"""Debian packages that crates need to compile and to run: a table, and what units make of it.

The table is data, `system-packages.toml`; its head says what the keys mean. Package names stand in it as bookworm has
them, and come out as those of the suite that is asked for.
"""

from __future__ import annotations

import enum
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import tomli
from semver import Version

from factory.config.layers import folded
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.config.layers import LayerTree
    from factory.model import PackageId, Unit, UnitKey


class Purpose(enum.StrEnum):
    """What a package is for: a program that builds, something to link, or what a finished program runs with."""

    TOOL = "tool"
    LIBRARY = "library"
    RUNTIME = "runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of the table: what a crate, or with `users` whoever builds with it, needs under a condition."""

    name: str
    why: str
    tools: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()
    since: str | None = None
    before: str | None = None
    users: bool = False
    excepted: frozenset[str] = frozenset()

    def holds(self, version: str, features: Iterable[str]) -> bool:
        """Whether the condition is met by a version of the crate with these features on."""
        on = frozenset(features)
        if self.unless & on or (self.features and not self.features & on):
            return False
        known = Version.parse(version)
        return (self.since is None or known >= Version.parse(self.since)) and (
            self.before is None or known < Version.parse(self.before)
        )

    def packages(self, *, at_home: bool) -> Iterator[tuple[str, Purpose]]:
        """Yield what is needed, in bookworm's names; `at_home` where the unit is compiled for the image's platform."""
        yield from ((package, Purpose.TOOL) for package in self.tools)
        if at_home:
            yield from ((package, Purpose.LIBRARY) for package in self.libraries)
            yield from ((package, Purpose.RUNTIME) for package in self.runtime)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageTable:
    """The table: rules by crate, the names of other suites, and where programs and modules of pkg-config come from."""

    rules: Mapping[str, tuple[Rule, ...]]
    renamed: Mapping[str, Mapping[str, str]]
    programs: Mapping[str, str]
    modules: Mapping[str, str]

    def rules_of(self, crate: str) -> tuple[Rule, ...]:
        """Return the rules of a crate, none for most."""
        return self.rules.get(folded(crate), ())

    def in_suite(self, package: str, suite: str) -> str:
        """Return the name that a package of bookworm has in another suite."""
        return self.renamed.get("sid" if suite == "unstable" else suite, {}).get(package, package)

    def all_packages(self, suite: str) -> tuple[str, ...]:
        """Return the name of every package that the table knows, as the suite has it."""
        named = {
            package for rules in self.rules.values() for rule in rules for package, _ in rule.packages(at_home=True)
        }
        return tuple(
            sorted(self.in_suite(name, suite) for name in named | {*self.programs.values(), *self.modules.values()})
        )


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Need:
    """A package that a crate needs, for the sake of one unit, and the repositories that have this unit."""

    package: str
    purpose: Purpose
    crate: str
    key: UnitKey
    repos: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageUse:
    """A package with the crates and repositories that need it."""

    package: str
    purpose: Purpose
    crates: tuple[str, ...]
    repos: tuple[str, ...]


@cache
def read_table(path: Path | None = None) -> PackageTable:
    """Read the table, by default the shipped one."""
    document = tomli.loads((path or shipped("system-packages.toml")).read_text(encoding="utf-8"))
    rules: dict[str, list[Rule]] = defaultdict(list)
    for entry in document["crate"]:
        rules[folded(entry["name"])].append(_rule(entry))
    return PackageTable(
        rules={name: tuple(found) for name, found in rules.items()},
        renamed=document["renamed"],
        programs=document["programs"],
        modules=document["modules"],
    )


def needs(
    units: Mapping[UnitKey, Unit],
    users: Mapping[UnitKey, frozenset[str]],
    *,
    host: str,
    suite: str,
    table: PackageTable,
) -> tuple[Need, ...]:
    """Return what `units` need of the packages of `suite`, sorted; `users` are the repositories that have each unit.

    `host` is the platform of the images, as a target triple: libraries of Debian are of no use to another one.
    """
    found: list[Need] = []
    above = _users_among(units)
    for key, unit in units.items():
        for rule in table.rules_of(unit.package.name):
            if not rule.holds(unit.package.version, unit.features):
                continue
            for package, purpose in rule.packages(at_home=unit.platform in (None, host)):
                need = Need(
                    package=table.in_suite(package, suite),
                    purpose=purpose,
                    crate=unit.package.name,
                    key=key,
                    repos=users[key],
                )
                found += _of_users(need, rule, above[key], units, users) if rule.users else [need]
    return tuple(sorted(found, key=lambda need: (need.package, need.purpose, need.crate, need.key)))


def analysis_uses(analysis: Analysis, *, suite: str, table: PackageTable) -> tuple[PackageUse, ...]:
    """Return the packages that the workspaces of an analysis need, by purpose and name, and who needs each."""
    users: dict[UnitKey, set[str]] = defaultdict(set)
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            for key in use.keys:
                users[key].add(workspace.repo)
    return package_uses(
        needs(
            {key: analysis.units[key] for key in users},
            {key: frozenset(repos) for key, repos in users.items()},
            host=analysis.toolchain.host,
            suite=suite,
            table=table,
        )
    )


def package_uses(found: Iterable[Need]) -> tuple[PackageUse, ...]:
    """Gather needs by package: what people read."""
    crates: dict[tuple[Purpose, str], set[str]] = defaultdict(set)
    repos: dict[tuple[Purpose, str], set[str]] = defaultdict(set)
    for need in found:
        crates[need.purpose, need.package].add(need.crate)
        repos[need.purpose, need.package] |= need.repos
    order = list(Purpose)
    return tuple(
        PackageUse(
            package=package, purpose=purpose, crates=tuple(sorted(names)), repos=tuple(sorted(repos[purpose, package]))
        )
        for (purpose, package), names in sorted(crates.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    )


def layer_packages(
    found: Iterable[Need], layer_of: Mapping[UnitKey, str], tree: LayerTree
) -> dict[str, tuple[str, ...]]:
    """Return what each layer installs: what its units need to compile, as its profile changes it.

    What a layer below has installed already is not named again.
    """
    wanted: dict[str, set[str]] = defaultdict(set)
    for need in found:
        if need.purpose is not Purpose.RUNTIME:
            wanted[layer_of[need.key]].add(need.package)
    installed: dict[str, frozenset[str]] = {}
    for profile in tree.layers:
        path = [tree.layer(name) for name in tree.path_to_root(profile.name)]
        unwanted = frozenset().union(*(each.never_packages for each in path))
        below = frozenset().union(*(installed[each.name] for each in path[1:]))
        installed[profile.name] = frozenset(wanted[profile.name] | profile.packages) - unwanted - below
    return {name: tuple(sorted(packages)) for name, packages in installed.items()}


def uses_to_json(uses: Iterable[PackageUse]) -> list[dict[str, Any]]:
    """Return uses as JSON values."""
    return [
        {"package": use.package, "purpose": use.purpose.value, "crates": list(use.crates), "repos": list(use.repos)}
        for use in uses
    ]


def missing_packages(crate: str, said: str, *, suite: str, table: PackageTable) -> tuple[str, ...]:
    """Return the packages that a crate's failed build asks for, judged by what its build said; empty where it does not.

    Programs and modules of pkg-config are looked up in the table. Where the build misses something the table has no
    name for, the packages of the crate's own entry are the answer.
    """
    named = {table.programs[word] for word in _found(_MISSING_PROGRAM, said) if word in table.programs}
    asked = _found(_MISSING_MODULE, said)
    named |= {table.modules[word] for word in (name.lower() for name in asked) if word in table.modules}
    named |= {"pkg-config"} if _NO_PKG_CONFIG.search(said) else set()
    named |= {"libclang-dev"} if _NO_LIBCLANG.search(said) else set()
    if not named and (asked or _MISSING_SOMETHING.search(said)):
        own = table.rules_of(crate)
        named = {package for rule in own for package in (*rule.tools, *rule.libraries) if not rule.users}
    return tuple(sorted(table.in_suite(package, suite) for package in named))


_MISSING_PROGRAM = re.compile(
    r"is `(?P<a>[\w+.-]+)` not installed\?"
    r"|failed to (?:find tool|execute command:?|run) [\"'`](?P<b>[\w+.-]+)[\"'`]"
    r"|Could not find `(?P<c>protoc)`"
    r"|(?:^|\s)(?P<d>[\w+.-]+): (?:command )?not found"
    r"|(?P<e>autoreconf|libtoolize|bison|flex|nasm|yasm|cmake|ninja|make|perl)\b[^\n]*"
    r"(?:No such file|not found|NotFound)",
    re.MULTILINE,
)
_MISSING_MODULE = re.compile(
    r"[Tt]he system library `(?P<a>[\w.+-]+)` required by crate"
    r"|Package '?(?P<b>[\w.+-]+?)'?,? (?:required by [^\n]*, )?(?:was )?not found"
    r"|No package '(?P<c>[\w.+-]+)' found"
    r"|The file `(?P<d>[\w.+-]+)\.pc` needs to be installed"
    r"|(?:unable to find library|cannot find) -l(?P<e>[\w.+-]+)"
)
_NO_PKG_CONFIG = re.compile(
    r"pkg-config command could not be found|[Cc]ould not run `[^`\n]*pkg-config|`pkg-config` (?:is )?not installed"
)
_NO_LIBCLANG = re.compile(r"Unable to find libclang|couldn't find any valid shared libraries matching: \['libclang")
_MISSING_SOMETHING = re.compile(
    r"pkg[-_]config|[Cc]ould not find |fatal error: \S+\.h: No such file|\bNotFound\b|mysql_config|pg_config"
)


def _found(pattern: re.Pattern[str], text: str) -> set[str]:
    return {word for match in pattern.finditer(text) for word in match.groups() if word}


def _rule(entry: Mapping[str, Any]) -> Rule:
    fields = {"excepted" if key == "except" else key: value for key, value in entry.items()}
    for name in ("tools", "libraries", "runtime"):
        fields[name] = tuple(fields.get(name, ()))
    for name in ("features", "unless", "excepted"):
        fields[name] = frozenset(fields.get(name, ()))
    return Rule(**fields)


def _users_among(units: Mapping[UnitKey, Unit]) -> Mapping[UnitKey, tuple[UnitKey, ...]]:
    above: dict[UnitKey, list[UnitKey]] = {key: [] for key in units}
    for key, unit in units.items():
        for edge in unit.dependencies:
            if edge.key in above:
                above[edge.key].append(key)
    return {key: tuple(sorted(keys)) for key, keys in above.items()}


def _of_users(
    need: Need,
    rule: Rule,
    above: Iterable[UnitKey],
    units: Mapping[UnitKey, Unit],
    users: Mapping[UnitKey, frozenset[str]],
) -> list[Need]:
    """Lay the need on the build scripts that use the crate: those of other crates, and of the repositories' own."""
    excepted = {folded(name) for name in rule.excepted}
    packages: dict[UnitKey, PackageId] = {key: units[key].package for key in above}
    laid = [
        replace(need, crate=package.name, key=key, repos=users[key])
        for key, package in packages.items()
        if folded(package.name) not in excepted
    ]
    own = need.repos - frozenset().union(*(users[key] for key in packages))
    return [*laid, replace(need, repos=own)] if own else laid
