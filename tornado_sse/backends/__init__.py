"""Where the log lives: `Backend` is the contract, and `open_backend` finds the one that a URL means.

==============================  ==============================================================================
``memory://``                   `MemoryBackend`: this process's memory; the default
``sqlite:///events.db``         `SQLiteBackend`: a file, by a path that begins where the process was started
``sqlite:////var/events.db``    the same, by an absolute path; as in SQLAlchemy's URLs, the third slash ends
                                the part where other databases have a host
``…?durability=power``          each acknowledgement waits for the disk; see `SQLiteBackend`
``redis://host:6379/0``         Redis or Valkey, shared by many hosts; ``rediss://`` with TLS,
                                ``redis+unix:///run/redis.sock`` by a socket; see `RedisBackend` in
                                `.backends.redis`. Needs ``pip install 'tornado-sse[redis]'``
``…?prefix=name&timeout=5``     the log's name in the server; for how many seconds to try
``nats://host:4222``            NATS JetStream, shared by many hosts; ``tls://`` with TLS; see `NATSBackend`
                                in `.backends.nats`. Needs ``pip install 'tornado-sse[nats]'``
``…?stream=name&timeout=5``     the log's name in the server; for how many seconds to try
==============================  ==============================================================================

What means something else in a URL is escaped with per cent: ``%3F`` for ``?``, ``%23`` for ``#``, ``%25`` for
``%``. Installed distributions may add more; see `tornado_sse.backends.registry`.
"""

from tornado_sse.backends.base import WINDOW, Backend, Listener, Page, RetentionOf
from tornado_sse.backends.memory import MemoryBackend
from tornado_sse.backends.registry import BackendInfo, list_backends, open_backend
from tornado_sse.backends.sqlite import SQLiteBackend, renew_epoch

__all__ = [
    "WINDOW",
    "Backend",
    "BackendInfo",
    "Listener",
    "MemoryBackend",
    "Page",
    "RetentionOf",
    "SQLiteBackend",
    "list_backends",
    "open_backend",
    "renew_epoch",
]
