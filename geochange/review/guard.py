"""Who may ask what of the server: the token, the cookie, names of hosts, limits, and the headers of answers. Pure.

The server listens on this machine alone, where other users and every page of a browser can reach it. Each request but
those for the page's own files must hold a cookie that only the printed address gives; the name in `Host` must be one of
this machine's, so that a foreign name that is made to point here does not help; and requests that change something must
come from the page itself.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
MOST_BYTES = 8 << 20  # of a request
TOKEN_BYTES = 32

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of every answer."""


@dataclass(frozen=True)
class Refusal(Exception):
    """A request that is refused: a status of HTTP, and one line."""

    status: int
    text: str


@dataclass(frozen=True)
class Guard:
    """What the server of one review lets in."""

    port: int
    host: str | None = None
    """The name or address that it listens on beside this machine's own."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES))

    @property
    def cookie(self) -> str:
        """The cookie's name, with the port, which cookies do not know."""
        return f"geochange-{self.port}"

    def require_host(self, host: str) -> None:
        """Refuse a request to a name that is not this server's, with any port."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        own = [] if self.host is None else [self.host.lower(), f"[{self.host.lower()}]"]
        if name.lower() not in {*LOCAL_NAMES, *own}:
            raise Refusal(403, "this name is not the review's; open the printed address")

    def require_session(self, cookies: Mapping[str, str]) -> None:
        """Refuse a request without the cookie of this server."""
        if not hmac.compare_digest(cookies.get(self.cookie, "").encode(), self.session.encode()):
            raise Refusal(401, "open the address that `geochange review` has printed")

    def require_own_page(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that changes something and does not come from the page."""
        origin, host = headers.get("origin", ""), headers.get("host", "")
        if origin != f"http://{host}":
            raise Refusal(403, "the request does not come from the review's page")
        if headers.get("x-geochange") != "1":
            raise Refusal(403, "the request lacks the header X-Geochange")
        if headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise Refusal(415, "the request must be JSON")

    def session_for(self, token: object) -> str:
        """Return the cookie's value for a token; refuse a wrong one."""
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(errors="replace"), self.token.encode()):
            raise Refusal(401, "the token is not this review's; open the address that was printed last")
        return self.session
