"""The guarded download, against a fake network."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import urllib3

from boig.feed.fetch import Fetcher
from boig.feed.picture import Unusable
from tests.boig.feed.rules import FETCH


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = (b"pic", b"ture")

    def stream(self, amt: int) -> Iterator[bytes]:
        yield from self.pieces

    def release_conn(self) -> None:
        pass


@dataclass
class Net:
    """Answers by URL, addresses by host; remembers what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    addresses: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def resolve(self, host: str) -> list[str]:
        return self.addresses.get(host, ["93.184.215.14"])

    def get(self, address: str, host: str, target: str, timeout_s: float) -> Answer:
        self.asked.append((address, host))
        return self.answers.get(f"https://{host}{target}", Answer())


def fetcher(net: Net, clock=lambda: 0.0) -> Fetcher:
    return Fetcher(FETCH, 100, net.resolve, net.get, clock)


def reason(net: Net, url: str) -> str:
    with pytest.raises(Unusable) as caught:
        fetcher(net)(url)
    return caught.value.reason


def test_an_allowed_picture_comes_from_the_checked_address() -> None:
    net = Net()
    assert fetcher(net)("https://pbs.example.com/a.jpg?x=1") == b"picture"
    assert fetcher(net)("https://b.cdn.example.com/a.jpg") == b"picture"
    assert net.asked[0] == ("93.184.215.14", "pbs.example.com")


@pytest.mark.parametrize(
    "url",
    [
        "http://pbs.example.com/a.jpg",
        "https://pbs.example.com:8443/a.jpg",
        "https://user:word@pbs.example.com/a.jpg",  # pragma: allowlist secret
        "https://evil.com/a.jpg",
        "https://pbs.example.com.evil.com/a.jpg",
        "https://cdn.example.com.evil.com/",
        "https://xcdn.example.com/",
        "https://[::1]/a.jpg",
        "https://[bad/",
        "file:///etc/passwd",
    ],
)
def test_other_addresses_are_refused_before_any_request(url: str) -> None:
    net = Net()
    assert reason(net, url) == "fetch_refused"
    assert not net.asked


PRIVATE = (
    "127.0.0.1", "10.0.0.7", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1", "fe80::1%eth0", "fd00::1",
    "::ffff:10.0.0.1", "224.0.0.1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_names_that_lead_inside_are_refused_even_among_public_ones(address: str) -> None:
    net = Net(addresses={"pbs.example.com": ["93.184.215.14", address]})
    assert reason(net, "https://pbs.example.com/a.jpg") == "fetch_refused"
    assert not net.asked


def test_each_hop_of_a_redirect_is_checked() -> None:
    hop = Answer(302, {"location": "https://b.cdn.example.com/real.jpg"})
    net = Net({"https://pbs.example.com/a.jpg": hop})
    assert fetcher(net)("https://pbs.example.com/a.jpg") == b"picture"
    net = Net({"https://pbs.example.com/a.jpg": Answer(302, {"location": "https://10.0.0.1/x"})})
    assert reason(net, "https://pbs.example.com/a.jpg") == "fetch_refused"
    net = Net({"https://pbs.example.com/a.jpg": hop}, {"b.cdn.example.com": ["127.0.0.1"]})
    assert reason(net, "https://pbs.example.com/a.jpg") == "fetch_refused"
    net = Net({"https://pbs.example.com/a.jpg": Answer(301, {"location": "/a.jpg"})})
    assert reason(net, "https://pbs.example.com/a.jpg") == "fetch_failed"
    assert len(net.asked) == FETCH.redirects + 1


def test_caps_on_bytes_status_and_time() -> None:
    url = "https://pbs.example.com/a.jpg"
    assert reason(Net({url: Answer(pieces=(b"x" * 60, b"x" * 60))}), url) == "picture_too_large"
    assert reason(Net({url: Answer(404)}), url) == "fetch_failed"
    assert reason(Net(addresses={"pbs.example.com": []}), url) == "fetch_failed"
    ticks = iter([0.0, 3.0, 6.0])
    with pytest.raises(Unusable, match="not complete after 4 s"):
        fetcher(Net(), lambda: next(ticks))(url)


def test_a_broken_connection_is_a_reason_not_a_crash() -> None:
    def broken(*_: object) -> Answer:
        raise urllib3.exceptions.ProtocolError("reset")

    with pytest.raises(Unusable) as caught:
        Fetcher(FETCH, 100, Net().resolve, broken)("https://pbs.example.com/a.jpg")
    assert caught.value.reason == "fetch_failed"
