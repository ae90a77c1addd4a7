"""How a client logs in at a registry: by name and password, or by a token of the service that the registry names.

https://distribution.github.io/distribution/spec/auth/. No credential is shown or kept beyond the process.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNAUTHORIZED = 401


def is_loopback(host: str) -> bool:
    """Whether HOST or HOST:PORT is this machine: what goes there may go unencrypted, as with Docker."""
    return re.fullmatch(r"(?:localhost|127\.[0-9.]+|\[::1\])(?::[0-9]+)?", host) is not None


class Login:
    """Asks with what Docker's store has for a registry (`username`, `password` or `identitytoken`)."""

    def __init__(self, account: Mapping[str, str], session: requests.Session) -> None:
        self._account = account
        self._session = session
        self._tokens: dict[str, str] = {}

    def request(self, method: str, url: str, *, headers: Mapping[str, str], timeout: float) -> requests.Response:
        """Ask once, and where the registry says how to log in, once more; raise `requests.RequestException`."""
        scope = "delete" if method == "DELETE" else "pull"
        known = {"Authorization": self._tokens[scope]} if scope in self._tokens else {}
        answer = self._send(method, url, headers={**headers, **known}, timeout=timeout)
        if answer.status_code != _UNAUTHORIZED:
            return answer
        authorization = self._authorization(answer.headers.get("WWW-Authenticate", ""), timeout)
        if authorization is None:
            return answer
        self._tokens[scope] = authorization
        return self._send(method, url, headers={**headers, "Authorization": authorization}, timeout=timeout)

    def _send(self, method: str, url: str, **how: Any) -> requests.Response:  # noqa: ANN401 - those of requests
        # With an `auth` that adds nothing, as requests would look into ~/.netrc, where Docker does not.
        return self._session.request(method, url, auth=_nothing, **how)

    def _authorization(self, challenge: str, timeout: float) -> str | None:
        """Return the header that answers a challenge, `None` where there is nothing to answer it with."""
        kind, _, text = challenge.partition(" ")
        if kind.lower() == "basic":
            if "username" not in self._account:
                return None
            request = requests.Request("GET", "http://x", auth=(self._account["username"], self._account["password"]))
            return str(request.prepare().headers["Authorization"])
        if kind.lower() != "bearer":
            return None
        fields: dict[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', text))
        place = urlsplit(fields.get("realm", ""))
        if place.scheme != "https" and not is_loopback(place.netloc):
            # The password would go unencrypted.
            return None
        answer = self._token(fields, timeout)
        token = answer.json() if answer.ok else {}
        found = token.get("token") or token.get("access_token")
        return f"Bearer {found}" if found else None

    def _token(self, fields: Mapping[str, str], timeout: float) -> requests.Response:
        asked = {key: fields[key] for key in ("service", "scope") if key in fields}
        if "identitytoken" in self._account:
            grant = {"grant_type": "refresh_token", "refresh_token": self._account["identitytoken"]}
            return self._session.post(
                fields["realm"], data={**asked, **grant, "client_id": "factory"}, auth=_nothing, timeout=timeout
            )
        login = (self._account["username"], self._account["password"]) if "username" in self._account else _nothing
        return self._session.get(fields["realm"], params=asked, auth=login, timeout=timeout)


def _nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
