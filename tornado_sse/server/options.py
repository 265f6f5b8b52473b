"""`ServerOptions`: all that a server can be told, checked before it starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tornado_sse.backends import Backend, open_backend
from tornado_sse.errors import SettingError
from tornado_sse.log import Retention
from tornado_sse.server.access import Grant
from tornado_sse.settings import Settings

__all__ = ["ServerOptions"]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server is told.

    :arg str broker: where the log lives; see `tornado_sse.backends`.
    :arg str host: the address to listen on; "" is all of them.
    :arg int port: the port; 0 is one that is free.
    :arg int processes: how many processes answer on it. More than one need a log that they can share.
    :arg int metrics_port: where the first process tells its figures to Prometheus, the next on the port after
        it; None is on ``port``, if there is but one.
    :arg grants: who may publish and subscribe.
    :arg retention: how much is kept of each channel.
    :arg int max_body: how many bytes a request to publish may have.
    :arg float drain: how long stopping may take, in seconds.
    :arg bool xheaders: whether to believe ``X-Forwarded-For`` and the like, as a proxy sets them.
    :arg trusted_proxies: the addresses of proxies before that one.
    :arg streams: settings of the streams, by their names in `tornado_sse.Settings`.

    :raises SettingError: if something makes no sense.
    :raises BackendNotFoundError: if no backend serves the URL.
    """

    broker: str = "memory://"
    host: str = "127.0.0.1"
    port: int = 8000
    processes: int = 1
    metrics_port: int | None = None
    grants: tuple[Grant, ...] = ()
    retention: Retention = field(default_factory=Retention)
    max_body: int = 1024 * 1024
    drain: float = 10.0
    xheaders: bool = False
    trusted_proxies: tuple[str, ...] = ()
    streams: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Settings(**self.streams)
        if self.metrics_port is not None and importlib.util.find_spec("prometheus_client") is None:
            raise SettingError("metrics_port", "needs prometheus-client: pip install 'tornado-sse[metrics]'")
        backend = self.open_backend()
        if self.processes > 1 and not backend.shared:
            raise SettingError(
                "processes",
                f"can't be more than 1 with the {backend.name} log, which each process has for itself; "
                "sqlite:///events.db is a log that they share",
            )

    def open_backend(self) -> Backend:
        """Return a backend of these options; it has not been started."""
        return open_backend(self.broker, lambda channel: self.retention)
