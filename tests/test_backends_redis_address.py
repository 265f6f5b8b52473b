from __future__ import annotations

import pytest
from redis import exceptions
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from tornado_sse.backends import open_backend
from tornado_sse.backends.redis import RedisBackend, from_url
from tornado_sse.backends.redis_address import Address, Route
from tornado_sse.errors import SettingError
from tornado_sse.log import Retention


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", Address("localhost", 6379)),
        ("redis://localhost/", Address("localhost", 6379)),
        ("REDIS://localhost:7000/3", Address("localhost", 7000, 3)),
        ("redis://[::1]:7000", Address("::1", 7000)),
        ("redis://:secret@host", Address("host", 6379, 0, None, "secret")),
        ("redis://me:s%40c%3Aret@host", Address("host", 6379, 0, "me", "s@c:ret")),
        ("rediss://host?ca=/etc/ca.pem", Address("host", 6379, tls=True, ca="/etc/ca.pem")),
        ("redis://host?timeout=0.5", Address("host", 6379, timeout=0.5)),
        ("redis+unix:///run/redis.sock?db=2", Address("/run/redis.sock", None, 2)),
    ],
)
def test_urls(url: str, address: Address) -> None:
    backend = open_backend(url, lambda channel: Retention())
    assert isinstance(backend, RedisBackend)
    assert backend._reading._route.address == address
    assert backend._timeout == address.timeout


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://", "does not name a server; write it like redis://user:password@localhost:6379/0"),
        ("redis://host:0", "does not name a server"),
        ("redis://host:x", "does not name a server"),
        ("redis://me:secret@host/one", "'redis://***@host/one': a database is a number, not 'one'"),
        ("redis://host?prefix=a{b}", "prefix is 1 to 100 of letters, digits and . _ : -, not 'a{b}'"),
        ("redis://host?timeout=0", "timeout is a positive number of seconds, not '0'"),
        ("redis://host?db=1", "has the parameter 'db'; there is prefix, timeout"),
        ("redis://host?ca=x", "has the parameter 'ca'; there is prefix, timeout"),
        ("redis+unix://host/x", "names no socket; write redis+unix:///run/redis.sock"),
        ("redis+unix:///x?db=one", "db is a number, not 'one'"),
    ],
)
def test_a_url_that_makes_no_sense_is_told_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        from_url(url, lambda channel: Retention())
    assert sentence in str(caught.value)


def test_a_password_is_not_shown() -> None:
    address = Address("host", 6379, 0, "me", "secret")
    assert "secret" not in f"{address} {address!r}"
    assert str(address) == "host:6379"
    assert str(Address("/run/redis.sock", None)) == "/run/redis.sock"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (Address("host", 1), Connection),
        (Address("host", 1, tls=True), SSLConnection),
        (Address("/run/redis.sock", None), UnixDomainSocketConnection),
    ],
)
def test_connections(address: Address, kind: type) -> None:
    connection = address.connection()
    assert type(connection) is kind
    assert connection.protocol == 2, "the replies' shapes depend on it"
    assert connection.socket_timeout is None, "a subscription may be quiet"


def test_a_node_of_a_cluster_sends_on_and_is_asked_again_when_that_is_away() -> None:
    route = Route(Address("one", 1, 0, "me", "secret"))
    route.heed(exceptions.MovedError("5 two:2"))
    assert str(route) == "two:2"
    assert route.connection().password == "secret"
    route.heed(exceptions.MovedError("5 :3"))
    assert str(route) == "two:3"
    route.heed(ConnectionResetError())
    assert str(route) == "one:1"
