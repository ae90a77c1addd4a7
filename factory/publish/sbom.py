"""What is in an image, as CycloneDX 1.6: every crate of which a unit was cooked.

Written by hand: it is one list of sorted values, its bytes depend on nothing else (no serial number, no time), and a
package less stands between the plan and the document. Specification: https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import tomli

from factory import __version__
from factory.model import CRATES_IO, PackageId, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from factory.planning.plan import Plan
    from factory.publish.contents import Said

SPECIFICATION = "1.6"
_SPDX_SIMPLE = re.compile(r"[A-Za-z0-9.+-]+")


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class CookedCrate:
    """A crate with units in an image: where it is from, its features, and what the lock and its manifest say of it."""

    package: PackageId
    features: tuple[str, ...]
    checksum: str | None
    licence: str | None


def cooked_crates(said: Iterable[Said], plans: Iterable[Plan], *, homes: Sequence[Path]) -> tuple[CookedCrate, ...]:
    """Return the crates that images say they hold, sorted, each once.

    Checksums come from the plans' locks, licences from what the CARGO_HOMEs `homes` have downloaded.
    """
    features: dict[PackageId, set[str]] = {}
    for package, used in (row for image in said for row in image.cooked.items()):
        features.setdefault(package, set()).update(used)
    checksums = _checksums(plans)
    return tuple(
        CookedCrate(
            package=package,
            features=tuple(sorted(used)),
            checksum=checksums.get(package),
            licence=licence_of(package, homes),
        )
        for package, used in sorted(features.items())
    )


def bill_of_materials(crates: Sequence[CookedCrate], *, layer: str, rust: str, plan: str) -> dict[str, Any]:
    """Return a CycloneDX document: the same bytes for the same crates."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": f"layer:{layer}",
                "name": layer,
                "version": plan,
                "properties": [{"name": "rust-warm-factory:rustc", "value": rust}],
            },
            "tools": {"components": [{"type": "application", "name": "factory", "version": __version__}]},
        },
        "components": [_component(crate) for crate in crates],
    }


def package_url(package: PackageId) -> str:
    """Return a package's purl; registries but crates.io and git repositories are qualifiers.

    https://github.com/package-url/purl-spec/blob/main/types-doc/cargo-definition.md
    """
    url = f"pkg:cargo/{quote(package.name)}@{quote(package.version, safe='')}"
    if package.kind is SourceKind.GIT:
        repository, _, commit = package.source.removeprefix("git+").partition("#")
        vcs = f"git+{repository.partition('?')[0]}" + (f"@{commit}" if commit else "")
        return f"{url}?{urlencode({'vcs_url': vcs})}"
    if package.source != CRATES_IO:
        return f"{url}?{urlencode({'repository_url': package.source.partition('+')[2]})}"
    return url


def licence_of(package: PackageId, homes: Sequence[Path]) -> str | None:
    """Return the SPDX expression of a downloaded crate's manifest; `None` where it is not here, or does not say."""
    name = f"{package.name}-{package.version}"
    for home in homes:
        for archive in sorted((home / "registry" / "cache").glob(f"*/{name}.crate")):
            try:
                with tarfile.open(archive) as crate:
                    manifest = crate.extractfile(f"{name}/Cargo.toml")
                    text = b"" if manifest is None else manifest.read()
                said = tomli.loads(text.decode("utf-8")).get("package", {}).get("license")
            except (OSError, tarfile.TarError, KeyError, ValueError, AttributeError):
                # A download that is damaged says nothing of its licence; cargo itself refuses it elsewhere.
                continue
            if isinstance(said, str) and said.strip():
                # `MIT/Apache-2.0` is how expressions were written before SPDX.
                return " OR ".join(part.strip() for part in said.split("/"))
    return None


def _component(crate: CookedCrate) -> dict[str, Any]:
    url = package_url(crate.package)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": crate.package.name,
        "version": crate.package.version,
        "purl": url,
        "properties": [{"name": "rust-warm-factory:features", "value": ",".join(crate.features)}],
    }
    if crate.checksum is not None:
        component["hashes"] = [{"alg": "SHA-256", "content": crate.checksum}]
    if crate.licence is not None:
        simple = _SPDX_SIMPLE.fullmatch(crate.licence)
        component["licenses"] = [{"license": {"id": crate.licence}} if simple else {"expression": crate.licence}]
    return component


def _checksums(plans: Iterable[Plan]) -> Mapping[PackageId, str]:
    found = {}
    for plan in plans:
        for recipe in plan.recipes:
            for entry in recipe.parsed_lock.packages:
                if entry.checksum is not None:
                    found[entry.package] = entry.checksum
    return found
