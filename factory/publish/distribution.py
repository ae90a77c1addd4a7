"""The API of registries, where docker and buildx have no command: what is there, and taking it away.

https://github.com/opencontainers/distribution-spec. Credentials are those of Docker's own store, and go to the
registry, or to the service that it names for tokens, alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import docker.auth
import docker.errors
import requests

from factory.engine import certificates
from factory.errors import ConfigurationError, RegistryFaultError
from factory.publish.attempts import Fault, RegistryAnswerError, Unanswered, until_answered
from factory.publish.credentials import Login, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.output import Output
    from factory.publish.attempts import Patience

SECONDS = 60.0
"""How long a registry may take for one answer."""

LARGEST_MANIFEST = 4 << 20
"""Bytes; what registries have to take, and no more."""

DELETING_ADVICE = (
    "Distribution (docker-registry) takes REGISTRY_STORAGE_DELETE_ENABLED=true, Harbor and GitLab a role that may "
    "delete, ECR the right ecr:BatchDeleteImage. The registries of GitHub and of Docker Hub delete by APIs of their "
    "own only: docs/prune.md."
)

NEVER_DELETING = {
    "ghcr.io": "GitHub's packages API",
    "docker.io": "Docker Hub's own API",
    "index.docker.io": "Docker Hub's own API",
}
"""Registries that answer every deletion with 405, and what deletes there instead."""

_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_DOCKER_HUB = {"", "docker.io", "index.docker.io"}
_NOT_FOUND, _NOT_ALLOWED, _TOO_MANY, _SERVERS_FAULT = 404, 405, 429, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image, an index, or what is attached to one: its digest, bytes, what it is made of.

    `children` are the manifests in an index, `blobs` configuration and layers with their bytes.
    """

    digest: str
    size: int
    children: tuple[str, ...]
    blobs: Mapping[str, int]


class Distribution:
    """One repository of a registry; every call is repeated with patience while nobody answers."""

    def __init__(self, registry: str, name: str, *, patience: Patience, output: Output) -> None:
        host = "registry-1.docker.io" if registry in _DOCKER_HUB else registry
        # What is no more than this machine may go unencrypted, as with Docker.
        self._base = f"{'http' if is_loopback(host) else 'https'}://{host}/v2/{name}/"
        self._what = f"{registry or 'docker.io'}/{name}"
        self._patience = patience
        self._output = output
        self._session = requests.Session()
        trusted = _authority(host)
        self._session.verify = True if trusted is None else str(trusted)
        self._tells_referrers = True
        self._login = Login(_account(registry), self._session)

    def tags(self) -> tuple[str, ...]:
        """Return all tags, sorted; none where there is no such repository."""
        pages = self._pages("tags/list?n=1000", f"listing the tags of {self._what}")
        return tuple(sorted(tag for page in pages or () for tag in page.get("tags") or ()))

    def manifest(self, reference: str) -> Manifest | None:
        """Return what a tag or a digest stands for, `None` where it is not there."""
        answer = self._ask("GET", urljoin(self._base, f"manifests/{reference}"), f"asking for {self._named(reference)}")
        if answer is None:
            return None
        content = answer.content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if len(content) > LARGEST_MANIFEST or (reference.startswith("sha256:") and digest != reference):
            raise RegistryFaultError(
                f"{self._named(reference)}: the registry sent something else, {digest} of {len(content)} bytes",
                advice="See what stands between this machine and the registry.",
            )
        return _manifest(_json(answer, self._named(reference)), digest, len(content))

    def has(self, digest: str) -> bool:
        """Whether there is a manifest of a digest."""
        url = urljoin(self._base, f"manifests/{digest}")
        return self._ask("HEAD", url, f"asking for {self._named(digest)}") is not None

    def referrers(self, digest: str) -> tuple[str, ...] | None:
        """Return the manifests that are attached to one without a tag; `None` where the registry does not say."""
        if not self._tells_referrers:
            return None
        pages = self._pages(f"referrers/{digest}", f"asking for what refers to {digest[:19]}")
        if pages is None:
            self._tells_referrers = False
            return None
        return tuple(sorted(str(row["digest"]) for page in pages for row in page.get("manifests") or ()))

    def delete(self, digest: str) -> None:
        """Take a manifest away, and with it its tags; one that is not there is no trouble.

        Raises `RegistryFaultError` that tells how to allow it where the registry does not.
        """
        what = f"deleting {self._named(digest)}"
        answer = self._ask("DELETE", urljoin(self._base, f"manifests/{digest}"), what)
        if answer is not None and answer.status_code == _NOT_ALLOWED:
            raise RegistryFaultError(f"{what}: this registry does not delete\n{_said(answer)}", advice=DELETING_ADVICE)

    def _named(self, reference: str) -> str:
        return f"{self._what}{'@' if ':' in reference else ':'}{reference}"

    def _pages(self, path: str, what: str) -> list[dict[str, Any]] | None:
        """Return all pages of a list, `None` where there is no such list."""
        pages: list[dict[str, Any]] = []
        url: str | None = urljoin(self._base, path)
        while url is not None:
            answer = self._ask("GET", url, what)
            if answer is None:
                return None
            pages.append(_json(answer, self._what))
            url = self._next(answer)
        return pages

    def _next(self, answer: requests.Response) -> str | None:
        """Return the address of the next page; another host would be given our credentials."""
        link = answer.links.get("next", {}).get("url")
        url = None if link is None else urljoin(answer.url, link)
        if url is not None and not url.startswith(self._base):
            raise RegistryFaultError(
                f"{self._what}: its list goes on at {url}",
                advice="See what stands between this machine and it.",
            )
        return url

    def _ask(self, method: str, url: str, what: str) -> requests.Response | None:
        """Return the answer, `None` for "not there"; an answer of 405 is one as well."""

        def attempt() -> requests.Response | Unanswered:
            try:
                answer = self._login.request(method, url, headers={"Accept": ", ".join(_MEDIA_TYPES)}, timeout=SECONDS)
            except requests.RequestException as error:
                return Unanswered(fault=Fault.SILENT, said=str(error))
            fault = _fault(answer.status_code)
            return answer if fault is None else Unanswered(fault=fault, said=_said(answer), pause=_pause(answer))

        try:
            return until_answered(what, attempt, self._patience, self._output)
        except RegistryAnswerError as error:
            if error.fault is Fault.ABSENT:
                return None
            raise


def require_deleting(registry: str) -> None:
    """Raise `ConfigurationError` for a registry that is known to delete nothing by the API of registries."""
    if registry in NEVER_DELETING:
        raise ConfigurationError(
            f"{registry} cannot be pruned: it deletes by {NEVER_DELETING[registry]} alone, which knows nothing of "
            "indexes and signatures",
            advice='Leave --prune out, and look after old images by hand: docs/prune.md, "Which registries".',
        )


def _fault(status: int) -> Fault | None:
    if status < requests.codes.bad_request or status == _NOT_ALLOWED:
        return None
    if status == _NOT_FOUND:
        return Fault.ABSENT
    if status == _TOO_MANY:
        return Fault.BUSY
    return Fault.SILENT if status >= _SERVERS_FAULT else Fault.REFUSED


def _pause(answer: requests.Response) -> float | None:
    seconds = answer.headers.get("Retry-After", "")
    return float(seconds) if re.fullmatch(r"[0-9]{1,6}", seconds) else None


def _said(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.reason}: {answer.text[:1000]}".strip()


def _json(answer: requests.Response, what: str) -> dict[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RegistryFaultError(
            f"{what}: what was sent is no answer of a registry: {answer.text[:200]!r}",
            advice="See whether `image.registry` is one, and what stands between this machine and it.",
        )
    return document


def _manifest(document: Mapping[str, Any], digest: str, size: int) -> Manifest:
    try:
        parts = [*document.get("layers", ()), *([document["config"]] if "config" in document else ())]
        return Manifest(
            digest=digest,
            size=size,
            children=tuple(str(row["digest"]) for row in document.get("manifests", ())),
            blobs={str(row["digest"]): int(row["size"]) for row in parts},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryFaultError(
            f"{digest}: not a manifest that this version of factory reads: {error!r}", advice="Report it, please."
        ) from error


def _authority(host: str) -> Path | None:
    """Return the certificates to trust: those that Docker trusts for a registry, else those of this machine."""
    of_docker = Path("/etc/docker/certs.d") / host / "ca.crt"
    return of_docker if of_docker.is_file() else certificates()


def _account(registry: str) -> Mapping[str, str]:
    """Return what Docker's store has for a registry, with keys in lower case; nothing where nobody logged in."""
    try:
        # Also what a credential helper tells. That one is missing, it warns of, and fails then.
        warnings.filterwarnings("ignore", "docker-credential-.* not installed", UserWarning)
        found = docker.auth.load_config().resolve_authconfig(None if registry in _DOCKER_HUB else registry)
    except docker.errors.DockerException as error:
        raise RegistryFaultError(
            f"{registry}: Docker's credential store does not answer: {error}", advice="Try `docker login` again."
        ) from error
    return {str(key).lower(): str(value) for key, value in (found or {}).items()}
