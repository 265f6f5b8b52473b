"""Where NATS servers are, and how to come in, as a URL says it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tornado_sse.backends.url import BackendURL
from tornado_sse.errors import SettingError

__all__ = ["Address"]

_PORT: Final = 4222

_IS_NETLOC: Final = re.compile(
    r"(?:(?P<user>[^:@]*)(?::(?P<password>[^@]*))?@)?(?P<hosts>[^@]+)", re.DOTALL
).fullmatch

_IS_HOST: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
).fullmatch


@dataclass(frozen=True)
class Address:
    """Where the servers of a cluster are, any of which will do.

    :arg servers: their hosts and ports.
    :arg password: of the user; without one, the user is a token.
    :arg creds: a file with credentials, as ``nsc`` makes it.
    :arg ca: a file of certificates to trust, with TLS; None are the system's.
    """

    servers: Sequence[tuple[str, int]]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    creds: str | None = None

    @classmethod
    def of(cls, url: BackendURL, *, ca: str | None = None, creds: str | None = None) -> Self:
        """Return what a URL says: ``nats://user:password@host:port,host:port``.

        :raises SettingError: if that makes no sense.
        """
        match = _IS_NETLOC(url.netloc)
        hosts = [_IS_HOST(host) for host in (match["hosts"].split(",") if match else ())]
        servers = [(each["host"], int(each["port"] or _PORT)) for each in hosts if each is not None]
        if match is None or len(servers) < len(hosts) or not all(0 < port < 65536 for _, port in servers):
            example = f"{url.scheme}://user:password@localhost:{_PORT}"
            raise SettingError("broker", f"{url!r} does not name a server; write it like {example}")
        if url.path.strip("/"):
            raise SettingError("broker", f"{url!r} has a path; write the stream as ?stream=name")
        return cls(
            tuple(servers),
            url.unquoted(match["user"] or "") or None,
            None if match["password"] is None else url.unquoted(match["password"]),
            url.scheme == "tls",
            ca,
            creds,
        )

    def __str__(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.servers)

    def options(self, attempt: int) -> dict[str, Any]:
        """Return what nats-py is told for one of many attempts to connect; each server has its turn.

        :raises OSError: if a file can't be read.
        """
        host, port = self.servers[attempt % len(self.servers)]
        options: dict[str, Any] = {"servers": [f"{'tls' if self.tls else 'nats'}://{host}:{port}"]}
        if self.password is not None:
            options |= {"user": self.user or "", "password": self.password}
        elif self.user is not None:
            options["token"] = self.user
        if self.creds is not None:
            options["user_credentials"] = self.creds
        if self.tls:
            options["tls"] = ssl.create_default_context(cafile=self.ca)
        return options
