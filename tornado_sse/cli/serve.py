"""``tornado-sse serve``: from options, environment and settings file to a server."""

from __future__ import annotations

import ipaddress
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from tornado.log import LogFormatter
from tornado.netutil import bind_sockets

from tornado_sse.cli.config import read_config
from tornado_sse.log import Retention
from tornado_sse.server import STOPPING, Grant, ServerOptions, Supervisor, run

__all__ = ["serve"]

_log: Final = logging.getLogger("tornado_sse")

# Those that are settings of the streams, by their names there.
_STREAMS: Final = ("keepalive", "retry", "max_age", "max_streams", "max_streams_per_address", "stall_timeout")

# Stands for no limit, where None would be taken for an option that is not there.
_NO_LIMIT: Final = object()

_option = partial(click.option, show_default=True)
_some = partial(click.option, multiple=True)

# When a proxy or a server has been restarted, all clients are back at once; whom the queue has no room for is
# kept waiting by TCP for a second and more.
_BACKLOG: Final = 1024


class _Limit(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in some versions alone
    """A number above 0, or "none" for no limit."""

    name = "number"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "none" or value is _NO_LIMIT:
            return _NO_LIMIT
        try:
            number = self._kind(value)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is neither a number nor none", param, ctx)
        if not 0 < number < 1e12:
            self.fail(f"{value!r} is not above 0; none is no limit", param, ctx)
        return number


def _configure(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Take a settings file's values for the defaults, which options and environment precede."""
    if path is not None:
        options = {
            each.name.replace("_", "-"): each
            for each in context.command.params
            if each.name and each is not parameter
        }
        values, grants = read_config(path, options)
        context.default_map = {
            options[name].name: [value] if options[name].multiple and isinstance(value, str) else value
            for name, value in values.items()
        }
        context.meta["tornado_sse.grants"] = grants
    return path


@click.command(context_settings={"auto_envvar_prefix": "TORNADO_SSE"})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=_configure,
    help="A settings file in TOML, with the names of these options, and [[grant]] tables.",
)
@_option("--broker", default="memory://", help="Where the log lives: memory://, sqlite:///events.db …")
@_option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 is all of this machine.")
@_option("--port", type=click.IntRange(0, 65535), default=8000, help="The port; 0 is one that is free.")
@_option("--processes", type=click.IntRange(1, 256), default=1, help="How many processes share the port.")
@_some("--publish-token", metavar="TOKEN", help="Who shows it may publish. May be repeated.")
@_some(
    "--subscribe-token", metavar="TOKEN", help="Who shows it may subscribe; nobody else may. May be repeated."
)
@_option("--allow-anonymous-publish", is_flag=True, help="Anybody who reaches the port may publish.")
@_some(
    "--allowed-origin", metavar="ORIGIN", help='Whose pages may use it, as https://example.com; "*" is all.'
)
@_option("--retain-events", type=_Limit(int), default=1000, help="Events kept of a channel, or none for all.")
@_option("--retain-bytes", type=_Limit(int), default=2**20, help="Bytes kept of a channel, or none for all.")
@_option(
    "--retain-age", type=_Limit(float), default=86400, help="Seconds an event is kept, or none for ever."
)
@_option("--retain-keys", type=_Limit(int), default=10000, help="Keys kept of a channel, or none for all.")
@_option("--max-body", type=click.IntRange(1), default=2**20, help="Bytes of a request to publish.")
@_option(
    "--keepalive", type=_Limit(float), default=15, help="Seconds of silence until a comment is sent, or none."
)
@_option("--retry", type=_Limit(float), help="Seconds until a client reconnects; about 2 by default.")
@_option(
    "--max-age", type=_Limit(float), default="none", help="Seconds until a stream ends, to be opened anew."
)
@_option(
    "--stall-timeout", type=_Limit(float), default=60, help="Seconds a reader may take nothing, or none."
)
@click.option(
    "--max-streams", type=click.IntRange(1), help="Open streams of a process; by default what it can open."
)
@click.option(
    "--max-streams-per-address", type=click.IntRange(1), help="Open streams of one address in a process."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Where /metrics is, rather than on --port; a further process has the port after it.",
)
@_option("--xheaders", is_flag=True, help="Believe X-Forwarded-For; only behind a proxy that sets it.")
@_some("--trusted-proxy", metavar="ADDRESS", help="A further proxy between that one and the client.")
@_option("--drain", type=click.FloatRange(0.1, 3600), default=10, help="Seconds that stopping may take.")
@_option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="On stderr."
)
@click.pass_context
def serve(context: click.Context, /, **given: Any) -> None:
    """Serve channels: POST publishes, GET streams.

    \b
    tornado-sse serve --allow-anonymous-publish
    curl -d 'hello' http://127.0.0.1:8000/channels/news
    curl -N http://127.0.0.1:8000/channels/news?start=earliest

    Each option can be given as TORNADO_SSE_<NAME> in the environment, several values with blanks between
    them, and in the settings file; the command line precedes the environment, the environment the file.
    Anybody on this machine can read the command line of a process: give tokens by the environment or the
    file.
    """
    given = {name: None if value is _NO_LIMIT else value for name, value in given.items()}
    _set_up_logging(given["log_level"])
    grants = context.meta.get("tornado_sse.grants", ()) + _grants(given)
    streams = {name: given[name] for name in _STREAMS}
    streams["max_streams"] = streams["max_streams"] or _room()
    origins = frozenset(given["allowed_origin"])
    if origins:
        streams["allowed_origins"] = "*" if "*" in origins else origins
    options = ServerOptions(
        broker=given["broker"],
        host=given["host"],
        port=given["port"],
        processes=given["processes"],
        metrics_port=given["metrics_port"],
        grants=grants,
        retention=Retention(*(given[f"retain_{name}"] for name in ("events", "bytes", "age", "keys"))),
        max_body=given["max_body"],
        drain=given["drain"],
        xheaders=given["xheaders"] or bool(given["trusted_proxy"]),
        trusted_proxies=given["trusted_proxy"],
        streams=streams,
    )
    _remark(options)
    context.exit(_run(options))


def _grants(given: dict[str, Any]) -> tuple[Grant, ...]:
    grants = [Grant(token, publish=("*",)) for token in given["publish_token"]]
    grants += [Grant(token, subscribe=("*",)) for token in given["subscribe_token"]]
    if given["allow_anonymous_publish"]:
        grants.append(Grant(None, publish=("*",)))
    return tuple(grants)


def _remark(options: ServerOptions) -> None:
    """Log what somebody may not have meant."""
    if not any(grant.publish for grant in options.grants):
        _log.warning("nobody may publish over HTTP: there is no --publish-token, and no grant")
    anybody = any(grant.token is None and grant.publish for grant in options.grants)
    if anybody and not _is_loopback(options.host):
        _log.warning(
            "anybody who reaches %s port %d may publish", options.host or "any address", options.port
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _run(options: ServerOptions) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    sockets = _bind(options)
    metrics = _bind_metrics(options)

    def work(slot: int, serving: Callable[[], object], parent: int | None) -> int:
        return run(options, sockets[slot], serving, parent=parent, metrics=metrics[slot])

    def listening() -> None:
        print(f"tornado-sse listens on {', '.join(map(_url, sockets[0]))}", flush=True)

    if options.processes == 1:
        return work(0, listening, None)
    return Supervisor(
        [[*each, *its] for each, its in zip(sockets, metrics, strict=True)], work, listening
    ).run()


def _bind(options: ServerOptions) -> list[list[socket.socket]]:
    """Return the sockets of each process."""
    # Without SO_REUSEPORT first: with it, what listens there already would go unseen, and share the port.
    sockets = _listen(options.host, options.port)
    if options.processes == 1:
        return [sockets]
    port = sockets[0].getsockname()[1]
    for each in sockets:
        each.close()
    return [_listen(options.host, port, reuse_port=True) for _ in range(options.processes)]


def _bind_metrics(options: ServerOptions) -> list[list[socket.socket]]:
    """Return the sockets on which each process tells its figures."""
    if options.metrics_port is None:
        return [[] for _ in range(options.processes)]
    return [_listen(options.host, options.metrics_port + slot) for slot in range(options.processes)]


def _listen(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    try:
        return bind_sockets(port, host, backlog=_BACKLOG, reuse_port=reuse_port)
    except OSError as error:
        raise click.ClickException(
            f"{host} port {port} can't be listened on: {error.strerror or error}"
        ) from error


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _room() -> int:
    """Have as many descriptors as this process may; return how many streams leave enough for the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # as on macOS, where "unlimited" is more than may be asked for
    return 1_000_000 if soft == resource.RLIM_INFINITY else max(1, soft * 9 // 10)


def _set_up_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(color=sys.stderr.isatty()))
    logging.basicConfig(level=level.upper(), handlers=[handler])
