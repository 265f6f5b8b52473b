from __future__ import annotations

from pathlib import Path

import pytest

from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.url import BackendURL
from tornado_sse.errors import SettingError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("nats://localhost", Address((("localhost", 4222),))),
        ("nats://localhost/", Address((("localhost", 4222),))),
        ("NATS://a:1,b,[::1]:3", Address((("a", 1), ("b", 4222), ("[::1]", 3)))),
        ("nats://token@host", Address((("host", 4222),), "token")),
        ("nats://me:s%40c%2Cret@host", Address((("host", 4222),), "me", "s@c,ret")),
        ("nats://me:@host", Address((("host", 4222),), "me", "")),
        ("tls://host", Address((("host", 4222),), tls=True)),
    ],
)
def test_where_a_url_leads(url: str, address: Address) -> None:
    assert Address.of(BackendURL(url)) == address


@pytest.mark.parametrize("url", ["nats://", "nats://a,,b", "nats://a:65536", "nats://a b", "nats://u@v@w"])
def test_where_it_leads_nowhere(url: str) -> None:
    with pytest.raises(SettingError, match="does not name a server; write it like"):
        Address.of(BackendURL(url))


def test_each_server_has_its_turn() -> None:
    address = Address([("a", 1), ("b", 2)], "me", "secret")
    options = [address.options(attempt) for attempt in range(3)]
    assert [each["servers"] for each in options] == [["nats://a:1"], ["nats://b:2"], ["nats://a:1"]]
    assert (options[0]["user"], options[0]["password"]) == ("me", "secret")
    assert str(address) == "a:1,b:2"
    assert "secret" not in repr(address)


def test_how_to_come_in(tmp_path: Path) -> None:
    assert Address([("a", 1)], "token").options(0)["token"] == "token"
    assert Address([("a", 1)], creds="/run/me.creds").options(0)["user_credentials"] == "/run/me.creds"
    assert Address([("a", 1)], tls=True).options(0)["servers"] == ["tls://a:1"]
    with pytest.raises(OSError, match="No such file"):
        Address([("a", 1)], tls=True, ca=str(tmp_path / "ca.pem")).options(0)
