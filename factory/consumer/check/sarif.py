"""Misses for machines that show them beside the code: SARIF 2.1.0, and the annotations of GitHub's workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from factory import __version__
from factory.consumer.check.causes import Cause
from factory.consumer.check.show import what

if TYPE_CHECKING:
    from collections.abc import Iterator

    from factory.consumer.check.model import CheckReport, Miss

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES = {
    Cause.TOOLCHAIN: "The repository pins another toolchain",
    Cause.SOURCES: "Crates come from elsewhere than the registry",
    Cause.CARGO_PROFILE: "The cargo profile differs from the warm one",
    Cause.RUSTFLAGS: "RUSTFLAGS differ from the warm ones",
    Cause.LINKER: "The repository sets a linker",
    Cause.TARGET: "The repository builds for another --target",
    Cause.LTO: "A crate is linked in another way",
    Cause.SIDES: "A crate is shared between build scripts and program in another way",
    Cause.VERSION: "Another version of a crate is warm",
    Cause.FEATURES: "A crate is warm with other features",
    Cause.DEPENDENCIES: "A crate is warm on other dependencies",
    Cause.FOREIGN_SOURCE: "A package of a path, or of git that is not cooked from, lies below",
    Cause.PRIVATE_REGISTRY: "A crate comes from a registry that is not cooked from",
    Cause.OTHER_IMAGE: "Warm in another image",
    Cause.NOT_COOKED: "A crate could not be cooked",
    Cause.NOT_PLANNED: "A crate is not in the plan",
}


def sarif(report: CheckReport) -> dict[str, Any]:
    """Return the misses as a SARIF log; every result lies on a line of the repository."""
    rules = [{"id": cause.value, "shortDescription": {"text": text}} for cause, text in _RULES.items()]
    index = {cause: number for number, cause in enumerate(_RULES)}
    driver = {"name": "factory check", "semanticVersion": __version__, "rules": rules}
    results = [_result(miss, index[miss.root.cause]) for miss in report.misses]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def github_annotations(report: CheckReport) -> Iterator[str]:
    """Yield a workflow command for each miss.

    https://docs.github.com/actions/reference/workflow-commands: properties are escaped more than the message.
    """
    for miss in report.misses:
        title = _property(_RULES[miss.root.cause])
        place = f"file={_property(miss.place.file)},line={miss.place.line}"
        yield f"::warning {place},title={title}::{_data(_message(miss))}"


def _result(miss: Miss, rule: int) -> dict[str, Any]:
    return {
        "ruleId": miss.root.cause.value,
        "ruleIndex": rule,
        "level": "warning",
        "message": {"text": _message(miss)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(miss.place.file)},
                    "region": {"startLine": miss.place.line},
                }
            }
        ],
        "properties": {"seconds": round(miss.lost, 3), "units": miss.units},
    }


def _message(miss: Miss) -> str:
    return f"{what(miss.root, miss)}: {miss.units} units, {miss.lost:.1f} s are compiled. {miss.remedy}"


def _uri(path: str) -> str:
    return quote(path)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
