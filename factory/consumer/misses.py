"""Miss reports: what a consumer's CI found warm and what not, for the next plan to weigh in.

A report names crates, versions, features and unit keys; no sources, no paths, nothing of the consumer's own packages.
docs/misses.md has the format and its JSON schema.
"""

from __future__ import annotations

import ipaddress
import os
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import requests
from pydantic import Field, ValidationError

from factory.analysis.model import Status, VariantUse, Workspace
from factory.cargo.lock import Lock
from factory.config.model import StrictModel
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import canonical_json, digest, write_json
from factory.graph import MergedGraph
from factory.model import CRATES_IO, Mode, UnitKey
from factory.program_variables import ProgramVariable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.consumer.check.model import CheckReport
    from factory.model import Unit

TOKEN_VARIABLE = ProgramVariable.REPORT_TOKEN
"""The variable whose value is sent as a bearer token with reports to a URL."""

MAX_REPORT_BYTES = 32 * 1024 * 1024
_SECONDS = (10, 60)
"""How long to wait for a connection, and for an answer."""

_Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Key = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class UnitCounts(StrictModel):
    """Registry units in all, and how many were warm."""

    total: _Count
    hit: _Count


class UnitRecord(StrictModel):
    """One unit. Without a key it stands for every unit of the crate that fits."""

    key: _Key | None = Field(None, description="The unit's key; null where the reporter does not know it.")
    crate: _Name = Field(description="The crate's name.")
    version: _Name = Field(description="Its version.")
    features: tuple[_Text, ...] | None = Field(None, description="Its features, sorted; null where not known.")
    kind: _Text = Field("lib", description="`lib`, `proc-macro`, `custom-build`, or `run-custom-build`.")
    seconds: _Seconds | None = Field(None, description="What compiling it takes, by the reporter's estimate.")
    causes: tuple[_Text, ...] = Field((), description="Why it missed: the causes that `factory check` names.")


class MissReport(StrictModel):
    """What one repository found warm in one image, and what not."""

    version: Literal[1] = Field(alias="schema", description="The version of this format.")
    repo: _Name = Field(description="The repository's name; the newest report of a name and variant counts.")
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = Field(description="The day, UTC.")
    plan: _Text = Field(description="Digest of the plan of the image.")
    rustc: _Text = Field(description="The rustc version of the image.")
    variant: _Name = Field(description="What was built, such as `release`.")
    image: _Text = Field(description="The layer whose image was used.")
    units: UnitCounts
    hits: tuple[_Key, ...] = Field((), description="Keys of the units that were warm, sorted.")
    warm: tuple[UnitRecord, ...] = Field((), description="Those that were warm, where their keys are not known.")
    misses: tuple[UnitRecord, ...] = Field(description="The units that were not, sorted.")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMiss:
    """A crate that consumers missed and that the analysis does not have, with the reporting repositories."""

    crate: str
    version: str
    repos: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """An analysis with a workspace more for each reporting repository, and what was missed that it does not know."""

    analysis: Analysis
    unknown: tuple[UnknownMiss, ...]


def miss_report(report: CheckReport, *, repo: str, date: str) -> MissReport:
    """Return the report of a forecast's variant; `date` is the day as YYYY-MM-DD."""
    hits = sorted({key for check in report.chosen for key in check.hits})
    missed = {
        row.unit.key: UnitRecord(
            key=row.unit.key,
            crate=row.unit.package.name,
            version=row.unit.package.version,
            features=row.unit.features,
            kind=_kind(row.unit),
            seconds=round(row.seconds, 3),
            causes=tuple(sorted({check.misses[index].root.cause.value for index in row.causes})),
        )
        for check in report.chosen
        for row in check.missed
        # Whoever reads the report learns nothing of a private registry.
        if row.unit.package.source == CRATES_IO
    }
    return MissReport(
        schema=1,
        repo=repo,
        date=date,
        plan=report.plan,
        rustc=report.rustc,
        variant=report.variant,
        image=report.image,
        units=UnitCounts(total=report.total.units, hit=report.hit.units),
        hits=tuple(hits),
        misses=tuple(missed[key] for key in sorted(missed)),
    )


def report_to_json(report: MissReport) -> dict[str, Any]:
    """Return a report as JSON values."""
    return report.model_dump(by_alias=True, mode="json")


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a report."""
    return MissReport.model_json_schema(by_alias=True)


def deliver(report: MissReport, target: str, *, folder: Path | None) -> str:
    """Leave a report in `folder`, or send it to the URL `target`; return where it is.

    A file is named by its content, so that equal reports are one file. A URL that ends in `/` gets a PUT of such a
    file below it, any other a POST. Raises `ConfigurationError` for a URL or folder that cannot be used, and
    `EnvironmentFaultError` where the server does not take it.
    """
    document = report_to_json(report)
    name = f"{digest(document)[:32]}.json"
    if folder is not None:
        write_json(folder / name, document)
        return str(folder / name)
    _send(canonical_json(document), f"{target}{name}" if target.endswith("/") else target, put=target.endswith("/"))
    return _without_secrets(target)


def read_misses(paths: Sequence[Path]) -> tuple[MissReport, ...]:
    """Read reports, files or folders of `*.json`, and return the newest of each repository and variant.

    Raises `ConfigurationError` that names every file which is no report.
    """
    newest: dict[tuple[str, str], MissReport] = {}
    faults = []
    for path in _files(paths):
        try:
            report = _read(path)
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {_first_fault(error)}")
            continue
        place = (report.repo, report.variant)
        if place not in newest or _age(newest[place]) < _age(report):
            newest[place] = report
    if faults:
        raise ConfigurationError(
            "\n".join(["not all of these are miss reports:", *faults]),
            advice="Remove them; docs/misses.md has the format.",
        )
    return tuple(newest[place] for place in sorted(newest))


def weigh_in(reports: Iterable[MissReport], analysis: Analysis) -> Weighed:
    """Add what reports say to an analysis, so that a plan of it counts the reporters as users.

    Every unit that a repository missed, with all that it stands on, counts as used by one repository more. So does,
    for a repository that the analysis does not have, every unit that it found warm: counting misses alone would throw
    out what works.
    """
    graph = MergedGraph(analysis.units)
    analysed = {_last_part(workspace.repo) for workspace in analysis.workspaces}
    by_crate: dict[tuple[str, str], list[Unit]] = defaultdict(list)
    for unit in analysis.units.values():
        if unit.is_registry:
            by_crate[unit.package.name, unit.package.version].append(unit)
    used: dict[str, dict[str, set[UnitKey]]] = defaultdict(lambda: defaultdict(set))
    unknown: dict[tuple[str, str], set[str]] = defaultdict(set)
    for report in reports:
        keys = set[UnitKey]()
        if _last_part(report.repo) not in analysed:
            keys |= {UnitKey(key) for key in report.hits}
            for found in report.warm:
                keys |= _keys_of(found, by_crate[found.crate, found.version])
        for missed in report.misses:
            meant = _keys_of(missed, by_crate[missed.crate, missed.version])
            if not meant:
                unknown[missed.crate, missed.version].add(report.repo)
            keys |= meant
        if report.variant in analysis.variants:
            used[report.repo][report.variant] |= _registry_closures(keys, graph)
    rows = tuple(_reported_workspace(repo, used[repo]) for repo in sorted(used))
    return Weighed(
        analysis=replace(analysis, workspaces=(*analysis.workspaces, *rows)),
        unknown=tuple(
            UnknownMiss(crate=crate, version=version, repos=tuple(sorted(repos)))
            for (crate, version), repos in sorted(unknown.items())
        ),
    )


def _registry_closures(keys: Iterable[UnitKey], graph: MergedGraph) -> frozenset[UnitKey]:
    known = graph.dependencies_first(key for key in keys if key in graph.units)
    return frozenset(key for key in known if graph.units[key].is_registry)


def _reported_workspace(repo: str, used: Mapping[str, set[UnitKey]]) -> Workspace:
    """Without a cargo profile: recipes are made from workspaces that are here with their locks."""
    name = f"reported:{repo}"
    return Workspace(
        path=name,
        repo=name,
        status=Status.RESOLVED,
        reason="known from a miss report, and only as far as others have its units",
        variants={
            variant: VariantUse(keys=tuple(sorted(keys)), profile=None, rustflags=())
            for variant, keys in sorted(used.items())
            if keys
        },
        lock=Lock(()),
    )


def _kind(unit: Unit) -> str:
    return unit.mode.value if unit.mode is Mode.RUN_CUSTOM_BUILD else unit.target_kind


def _keys_of(missed: UnitRecord, units: Sequence[Unit]) -> set[UnitKey]:
    """The units of a crate that a record means: the one of its key, or all that fit what it says."""
    if missed.key is not None:
        return {unit.key for unit in units if unit.key == missed.key}
    return {
        unit.key
        for unit in units
        if _kind(unit) == missed.kind and (missed.features is None or tuple(sorted(missed.features)) == unit.features)
    }


def _age(report: MissReport) -> tuple[str, str]:
    """Sort reports by day; of the same day, in an order that depends on their content alone."""
    return report.date, digest(report_to_json(report))


def _last_part(repo: str) -> str:
    return repo.rstrip("/").rpartition("/")[2]


def _files(paths: Sequence[Path]) -> list[Path]:
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(path.glob("*.json"))
        elif path.is_file():
            found.add(path)
        else:
            raise ConfigurationError(f"{path}: no such file or folder", advice="Name miss reports, or their folder.")
    return sorted(found)


def _read(path: Path) -> MissReport:
    if path.stat().st_size > MAX_REPORT_BYTES:
        message = f"larger than {MAX_REPORT_BYTES // 1024 // 1024} MB"
        raise ValueError(message)
    return MissReport.model_validate_json(path.read_bytes())


def _first_fault(error: OSError | ValueError) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        return f"{place}: {fault['msg']}" if place else fault["msg"]
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _send(text: str, url: str, *, put: bool) -> None:
    headers = {"Content-Type": "application/json"}
    token = os.environ.get(TOKEN_VARIABLE)
    if token:
        _require_safe(url)
        headers["Authorization"] = f"Bearer {token}"
    shown = _without_secrets(url)
    try:
        # No redirects: they would take the token to a server that nobody named.
        answer = requests.request(
            "PUT" if put else "POST",
            url,
            data=text.encode(),
            headers=headers,
            timeout=_SECONDS,
            allow_redirects=False,
        )
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise ConfigurationError(f"{shown}: not a URL", advice="Write https://HOST/PATH, or a folder.") from error
    except requests.RequestException as error:
        raise EnvironmentFaultError(
            f"{shown}: the miss report cannot be delivered: {type(error).__name__}", advice="Check the URL and network."
        ) from error
    if not 200 <= answer.status_code < 300:
        raise EnvironmentFaultError(
            f"{shown}: the server answered {answer.status_code} to the miss report",
            advice=f"Check the URL, and the token in {TOKEN_VARIABLE}.",
        )


def _require_safe(url: str) -> None:
    """Raise `ConfigurationError` where a token would go over the network for all to read."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise ConfigurationError(
            f"{_without_secrets(url)}: the token in {TOKEN_VARIABLE} is not sent without TLS",
            advice="Use https, or unset the variable.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_secrets(url: str) -> str:
    """Return a URL without user, password and query, any of which may let somebody in."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
