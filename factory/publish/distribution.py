"""The API of registries: what is there, and taking it away. What goes up is `factory.publish.uploads`.

https://github.com/opencontainers/distribution-spec. Credentials are those of Docker's own store, and go to the
registry, or to the service that it names for tokens, alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from dataclasses import dataclass, field
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

LARGEST_BLOB = 256 << 20
"""Bytes of a blob that is read whole: a configuration, or a layer with the list of what was cooked."""

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
_LOOKS = 4
"""How often it is looked whether something is gone."""
_ATTESTATIONS = "unknown/unknown"
"""The platform of an index's entries that are no images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image, an index, or what is attached to one: its digest, bytes, what it is made of.

    `children` are the manifests in an index, `images` those of them that are images, by platform. `blobs` are
    configuration and layers with their bytes; `configuration` and `layers`, the lowest first, say which is which.
    """

    digest: str
    size: int
    children: tuple[str, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    configuration: str = ""
    layers: tuple[str, ...] = ()


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
        # No proxy leads to this machine, as with Docker.
        self._session.trust_env = not is_loopback(host)
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
        if len(answer.content) > LARGEST_MANIFEST:
            raise RegistryFaultError(
                f"{self._named(reference)}: the registry sent {len(answer.content)} bytes for a manifest",
                advice="See what stands between this machine and the registry.",
            )
        told = reference if reference.startswith("sha256:") else answer.headers.get("Docker-Content-Digest", "")
        digest = self._content_digest(answer, reference, told)
        return _manifest(_document(answer.content, self._named(reference)), digest, len(answer.content))

    def labels(self, digest: str) -> Mapping[str, str]:
        """Return the labels of the image of a digest; raise `RegistryFaultError` where there is none of it."""
        found = self.configuration(self.image(digest)).get("config")
        labels = found.get("Labels") if isinstance(found, dict) else None
        return {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}

    def image(self, digest: str) -> Manifest:
        """Return the manifest of an image of which an index, or a tag, says that it is there.

        Raises `RegistryFaultError` where it is not, or is no image.
        """
        found = self.manifest(digest)
        if found is None or not found.configuration:
            raise RegistryFaultError(
                f"{self._named(digest)}: {'is not there' if found is None else 'is no image'}",
                advice="See who deletes from this registry, and push again.",
            )
        return found

    def configuration(self, image: Manifest) -> Mapping[str, Any]:
        """Return the configuration of an image, with its history."""
        return _document(self.blob(image, image.configuration), self._named(image.configuration))

    def blob(self, image: Manifest, digest: str) -> bytes:
        """Return a layer of an image, as it was compressed, or its configuration.

        Raises `RegistryFaultError` where it is not there, or larger than what is read into memory.
        """
        if image.blobs.get(digest, 0) > LARGEST_BLOB:
            raise RegistryFaultError(
                f"{self._named(digest)}: {image.blobs[digest]} bytes, and {LARGEST_BLOB} are read at most",
                advice="Report it, please.",
            )
        answer = self._ask("GET", urljoin(self._base, f"blobs/{digest}"), f"asking for {self._named(digest)}")
        if answer is None:
            raise RegistryFaultError(
                f"{self._named(digest)}: is not there, and a manifest of this registry names it",
                advice="See who deletes from this registry, and push again.",
            )
        self._content_digest(answer, digest, digest)
        return answer.content

    def _content_digest(self, answer: requests.Response, reference: str, told: str) -> str:
        """Return the digest of what was sent; raise `RegistryFaultError` where that is not what was asked for."""
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        if told.startswith("sha256:") and digest != told:
            raise RegistryFaultError(
                f"{self._named(reference)}: the registry sent something else, {digest} of {len(answer.content)} bytes",
                advice="See what stands between this machine and the registry.",
            )
        return digest

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

        Raises `RegistryFaultError` that tells how to allow it where the registry does not, and where it serves the
        manifest afterwards, whatever it answered: some say 404, or 202, to what they do not do.
        """
        what = f"deleting {self._named(digest)}"
        answer = self._ask("DELETE", urljoin(self._base, f"manifests/{digest}"), what)
        if answer is not None and answer.status_code == _NOT_ALLOWED:
            raise RegistryFaultError(f"{what}: this registry does not delete\n{_said(answer)}", advice=DELETING_ADVICE)
        if self._stays(digest):
            said = "404, not found" if answer is None else f"{answer.status_code}, done"
            raise RegistryFaultError(
                f"{what}: the registry said {said}, and still has it", advice=f"It may not delete. {DELETING_ADVICE}"
            )

    def _stays(self, digest: str) -> bool:
        """Whether a manifest is still there after a moment: registries of several machines take one to agree."""
        for number in range(1, _LOOKS):
            if not self.has(digest):
                return False
            self._patience.sleep(self._patience.wait(number, Fault.SILENT))
        return self.has(digest)

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
            pages.append(_document(answer.content, self._what))
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
                return unanswered(error)
            fault = _fault(answer.status_code)
            return answer if fault is None else Unanswered(fault=fault, said=_said(answer), pause=_pause(answer))

        try:
            return until_answered(what, attempt, self._patience, self._output)
        except RegistryAnswerError as error:
            if error.fault is Fault.ABSENT:
                return None
            raise


def parse_reference(text: str) -> tuple[str, str, str]:
    """Return registry, repository and tag or digest of a reference, as Docker reads it: `latest` where it has none."""
    name, _, digest = text.partition("@")
    first, _, rest = name.partition("/")
    registry = first if rest and (re.search(r"[.:]", first) or first == "localhost") else ""
    name = rest if registry else name
    name, _, tag = name.partition(":")
    if registry in _DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    return registry, name, digest or tag or "latest"


def pinned(reference: str, *, patience: Patience, output: Output) -> str:
    """Return a reference as `name:tag@sha256:…`, as its registry has it now; one with a digest stays as it is.

    Raises `RegistryFaultError` where the registry has no such image, or does not answer.
    """
    if "@" in reference:
        return reference
    registry, name, tag = parse_reference(reference)
    found = Distribution(registry, name, patience=patience, output=output).manifest(tag)
    named = reference if reference.endswith(f":{tag}") else f"{reference}:{tag}"
    if found is None:
        raise RegistryFaultError(f"{named}: no such image", advice="Check the name and the tag.")
    return f"{named}@{found.digest}"


def require_deleting(registry: str) -> None:
    """Raise `ConfigurationError` for a registry that is known to delete nothing by the API of registries."""
    if registry in NEVER_DELETING:
        raise ConfigurationError(
            f"{registry} cannot be pruned: it deletes by {NEVER_DELETING[registry]} alone, which knows nothing of "
            "indexes and signatures",
            advice='Leave --prune out, and look after old images by hand: docs/prune.md, "Which registries".',
        )


def unanswered(error: requests.RequestException) -> Unanswered:
    """Return why nobody answered, in the words of what failed: around them are those of three libraries."""
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or next(iter(cause.args), None), BaseException):
        cause = inner
    said = re.sub(r"^<?[\w.]*HTTPS?Connection.*?[)>]: ", "", str(cause))
    # Certificates that nobody here trusts are no better a moment later.
    untrusted = isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
    address = "" if error.request is None else f"{error.request.method} {error.request.url}: "
    return Unanswered(fault=Fault.REFUSED if untrusted else Fault.SILENT, said=f"{address}{said}")


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


def _document(content: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RegistryFaultError(
            f"{what}: what was sent is no answer of a registry: {content[:200]!r}",
            advice="See whether `image.registry` is one, and what stands between this machine and it.",
        )
    return document


def _manifest(document: Mapping[str, Any], digest: str, size: int) -> Manifest:
    try:
        layers, configuration = document.get("layers", ()), document.get("config")
        parts = [*layers, *([] if configuration is None else [configuration])]
        children = document.get("manifests", ())
        return Manifest(
            digest=digest,
            size=size,
            children=tuple(str(row["digest"]) for row in children),
            blobs={str(row["digest"]): int(row["size"]) for row in parts},
            images={name: str(row["digest"]) for row in children if (name := _platform(row)) != _ATTESTATIONS},
            configuration="" if configuration is None else str(configuration["digest"]),
            layers=tuple(str(row["digest"]) for row in layers),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryFaultError(
            f"{digest}: not a manifest that this version of factory reads: {error!r}", advice="Report it, please."
        ) from error


def _platform(entry: Mapping[str, Any]) -> str:
    """Return the platform of an index's entry; one that names none is no image of ours."""
    platform = entry.get("platform")
    return _ATTESTATIONS if platform is None else f"{platform['os']}/{platform['architecture']}"


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
