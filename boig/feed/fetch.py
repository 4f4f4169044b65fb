"""Download pictures from addresses that a feed names, without becoming its tool: only https, only allowed hosts, only public addresses.

Each hop of a redirect is checked again. The connection goes to the very address that was checked, so that a name cannot be pointed
elsewhere between check and use.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3

from boig.feed.picture import Unusable
from boig.feed.rules import Fetch

_CHUNK_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)


class Answer(Protocol):
    """The part of an HTTP response that is used."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]: ...

    def stream(self, amt: int) -> Iterator[bytes]:
        """The body in pieces of at most `amt` bytes."""

    def release_conn(self) -> None:
        """Done with it."""


Resolve = Callable[[str], list[str]]
"""Host name → its addresses."""
Get = Callable[[str, str, str, float], Answer]
"""(address, host, path and query, timeout in s) → the answer, not yet read, redirects not followed."""


def resolve(host: str) -> list[str]:
    """All addresses of a host by the system's resolver."""
    return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)})


def get(address: str, host: str, target: str, timeout_s: float) -> Answer:
    """One https request to `address` in the name of `host`, whose certificate is checked."""
    pool = urllib3.HTTPSConnectionPool(
        address, 443, timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s), retries=False, server_hostname=host, assert_hostname=host
    )
    return pool.request("GET", target, headers={"Host": host, "Accept": "image/*"}, redirect=False, preload_content=False)


@dataclass(frozen=True)
class Fetcher:
    """Downloads pictures under the rules."""

    rule: Fetch
    max_bytes: int
    resolve: Resolve = resolve
    get: Get = get
    clock: Callable[[], float] = time.monotonic

    def __call__(self, url: str) -> bytes:
        """The bytes behind a URL.

        Raises:
            Unusable: `fetch_refused`, `fetch_failed` or `picture_too_large`.
        """
        deadline = self.clock() + 4 * self.rule.timeout_s
        for _ in range(self.rule.redirects + 1):
            parts = self._checked(url)
            try:
                address = self._public_address(parts.hostname or "")
                answer = self.get(address, parts.hostname or "", _target(parts), self.rule.timeout_s)
                if answer.status not in _REDIRECTS:
                    return self._body(answer, deadline)
                answer.release_conn()
                url = urljoin(url, answer.headers.get("location", ""))
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Unusable("fetch_failed", f"{parts.hostname}: {type(error).__name__}: {error}") from error
        raise Unusable("fetch_failed", f"more than {self.rule.redirects} redirects")

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise Unusable("fetch_refused", f"{url[:80]!r} is not a URL: {error}") from error
        if parts.scheme != "https" or port not in (None, 443) or parts.username is not None:
            raise Unusable("fetch_refused", f"{url[:80]!r}: only https on port 443 without a user is fetched")
        if not any(_matches(host, allowed) for allowed in self.rule.hosts):
            raise Unusable("fetch_refused", f"host {host[:80]!r} is not in ingest.fetch.hosts")
        return parts

    def _public_address(self, host: str) -> str:
        """The first address of the host, if all of them are public."""
        addresses = self.resolve(host)
        for address in addresses:
            ip = ipaddress.ip_address(address.split("%")[0])
            mapped = getattr(ip, "ipv4_mapped", None) or ip
            if not mapped.is_global or mapped.is_multicast:
                raise Unusable("fetch_refused", f"{host} has the address {address}, which is not public")
        if not addresses:
            raise Unusable("fetch_failed", f"{host} has no address")
        return addresses[0]

    def _body(self, answer: Answer, deadline: float) -> bytes:
        if answer.status != 200:
            raise Unusable("fetch_failed", f"the server answered {answer.status}")
        body = bytearray()
        for piece in answer.stream(_CHUNK_BYTES):
            body += piece
            if len(body) > self.max_bytes:
                raise Unusable("picture_too_large", f"more than {self.max_bytes} bytes")
            if self.clock() > deadline:
                raise Unusable("fetch_failed", f"not complete after {4 * self.rule.timeout_s:g} s")
        answer.release_conn()
        return bytes(body)


def _matches(host: str, allowed: str) -> bool:
    return host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:]))


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
