"""Where a Redis or Valkey server is, as a URL says it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from redis import exceptions
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from tornado_sse.backends.url import BackendURL
from tornado_sse.errors import SettingError

__all__ = ["Address", "Route"]

_PORT: Final = 6379

_IS_NETLOC: Final = re.compile(
    r"(?:(?P<user>[^:@]*)(?::(?P<password>[^@]*))?@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
).fullmatch


@dataclass(frozen=True)
class Address:
    """Where a server is, and how to come in.

    :arg str host: its name or address; or, without a port, the path of its Unix socket.
    :arg ca: a file of certificates to trust, with TLS; None are the system's.
    :arg float timeout: for how many seconds what has been sent may stay unacknowledged.
    """

    host: str
    port: int | None
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    timeout: float = 5.0

    @classmethod
    def of(cls, url: BackendURL, *, db: int = 0, ca: str | None = None, timeout: float = 5.0) -> Self:
        """Return what a URL says: ``redis://user:password@host:port/db``, or ``redis+unix:///path``.

        :arg db: where the URL has no place for it.

        :raises SettingError: if that makes no sense.
        """
        if url.scheme == "redis+unix":
            path = url.unquoted(url.path)
            if url.netloc or not path.strip("/") or "\0" in path:
                raise SettingError("broker", f"{url!r} names no socket; write redis+unix:///run/redis.sock")
            return cls(path, None, db, timeout=timeout)
        match = _IS_NETLOC(url.netloc)
        if match is None or int(match["port"] or _PORT) not in range(1, 65536):
            example = f"{url.scheme}://user:password@localhost:{_PORT}/0"
            raise SettingError("broker", f"{url!r} does not name a server; write it like {example}")
        found = url.path.strip("/")
        if not re.fullmatch("([0-9]{1,5})?", found, re.ASCII):
            raise SettingError("broker", f"{url!r}: a database is a number, not {found!r}")
        return cls(
            match["host"].strip("[]"),
            int(match["port"] or _PORT),
            int(found or 0),
            url.unquoted(match["user"] or "") or None,
            None if match["password"] is None else url.unquoted(match["password"]),
            url.scheme == "rediss",
            ca,
            timeout,
        )

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def connection(self) -> AbstractConnection:
        """Return a connection that has not been opened."""
        common: dict[str, Any] = {
            "db": self.db,
            "username": self.user,
            "password": self.password,
            # The replies' shapes depend on it.
            "protocol": 2,
            # Whoever waits has a deadline of their own; the default would end a subscription that is quiet.
            "socket_timeout": None,
            "socket_connect_timeout": self.timeout,
        }
        if self.port is None:
            return UnixDomainSocketConnection(path=self.host, **common)
        common |= {
            "host": self.host,
            "port": self.port,
            "socket_keepalive": True,
            "socket_keepalive_options": self._keepalive(),
        }
        if self.tls:
            return SSLConnection(ssl_ca_certs=self.ca, ssl_check_hostname=True, **common)
        return Connection(**common)

    def _keepalive(self) -> dict[int, int]:
        # The last of these lets the kernel give up what is sent to somebody who is not there any more.
        seconds = max(1, round(self.timeout))
        wanted = {
            "TCP_KEEPIDLE": seconds,
            "TCP_KEEPINTVL": seconds,
            "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": round(self.timeout * 1000),
        }
        return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


class Route:
    """The way to a log: an address, or the node of its cluster that has the log."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._node = address

    def __str__(self) -> str:
        return str(self._node)

    def connection(self) -> AbstractConnection:
        """Return a connection that has not been opened."""
        return self._node.connection()

    def heed(self, error: Exception) -> None:
        """Learn from an error where to go next."""
        if isinstance(error, exceptions.MovedError):
            # No host stands for the one that says so.
            self._node = replace(self.address, host=error.host or self._node.host, port=error.port)
        else:
            self._node = self.address
