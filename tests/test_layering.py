"""The shape of the package: what may import what, what has tests, what is exported."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import tornado_sse

PACKAGE = Path(tornado_sse.__file__).parent
TESTS = Path(__file__).parent

# The staircase: a module imports from those above it and from no other.
ORDER = [
    "errors",
    "event",
    "encoder",
    "parser",
    "record",
    "log",
    "plugins",
    "serializers.base",
    "serializers.plain",
    "serializers.jsonable",
    "serializers.json",
    "serializers.text",
    "serializers.binary",
    "serializers.msgpack",
    "serializers.registry",
    "serializers",
    "backends.base",
    "backends.url",
    "backends.memory",
    "backends.tailed",
    "backends.sqlite_file",
    "backends.sqlite_retention",
    "backends.sqlite_log",
    "backends.sqlite_reader",
    "backends.sqlite_writer",
    "backends.sqlite",
    "backends.redis_scripts",
    "backends.redis_address",
    "backends.redis_link",
    "backends.redis_log",
    "backends.redis_subscription",
    "backends.redis_writer",
    "backends.redis",
    "backends.nats_address",
    "backends.nats_names",
    "backends.nats_link",
    "backends.nats_stream",
    "backends.nats_log",
    "backends.nats_retention",
    "backends.nats_writer",
    "backends.nats_hearing",
    "backends.nats_session",
    "backends.nats",
    "backends.registry",
    "backends",
    "settings",
    "ticker",
    "watch",
    "flow",
    "reason",
    "follower",
    "outbox",
    "line",
    "transport",
    "negotiation",
    "fields",
    "writer",
    "observer",
    "stream",
    "capacity",
    "draining",
    "rights",
    "piece",
    "group",
    "channel",
    "fanout",
    "gap",
    "subscriber",
    "beginning",
    "publishing",
    "broker",
    "following",
    "handler",
    "upgrader",
    "shutdown",
    "metrics",
    "received",
    "request",
    "inflating",
    "framing",
    "exchange",
    "asking",
    "backoff",
    "ending",
    "client",
    "browser",
    "probe.finding",
    "probe.transcript",
    "probe.visit",
    "probe.head",
    "probe.grammar",
    "probe.timing",
    "probe.resuming",
    "probe.manners",
    "probe.prober",
    "probe",
    "server.access",
    "server.submission",
    "server.answer",
    "server.reading",
    "server.posting",
    "server.health",
    "server.options",
    "server.application",
    "server.process",
    "server.supervisor",
    "server",
    "cli.config",
    "cli.visible",
    "cli.asked",
    "cli.printer",
    "cli.tail",
    "cli.probe",
    "cli.plugins",
    "cli.serve",
    "cli.demo",
    "cli.source",
    "cli.events",
    "cli.sender",
    "cli.publish",
    "cli",
    "__main__",
    "testing.serializers",
    "testing.probe",
    "testing.retention",
    "testing.backends",
    "testing.clock",
    "testing.relay",
    "testing.listener",
    "testing",
    "testing.pytest",
]

# No sockets, no event loop: these may be used, and tested, anywhere.
PURE = ORDER[: ORDER.index("backends.base")]
IO = {"asyncio", "socket", "ssl", "select", "selectors", "threading", "tornado", "time"}


def source(name: str) -> Path:
    path = PACKAGE / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(name: str) -> set[str]:
    """Return what a module imports, whether at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(source(name).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            assert node.module is not None
            found.add(node.module)
    return found


def test_every_module_has_its_place() -> None:
    found = {
        module.name.removeprefix("tornado_sse.")
        for module in pkgutil.walk_packages([str(PACKAGE)], "tornado_sse.")
    }
    assert found == {*ORDER}


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way(name: str) -> None:
    above = {f"tornado_sse.{each}" for each in ORDER[: ORDER.index(name)]}
    ours = {each for each in imports(name) if each.split(".")[0] == "tornado_sse"}
    assert ours <= above, f"{name} imports from below or beside: {ours - above}"


@pytest.mark.parametrize("name", PURE)
def test_the_core_is_pure(name: str) -> None:
    assert not {each.split(".")[0] for each in imports(name)} & IO


def test_the_parser_needs_nothing_but_the_standard_library() -> None:
    for name in ("errors", "event", "encoder", "parser"):
        assert {each.split(".")[0] for each in imports(name)} <= {*sys.stdlib_module_names, "tornado_sse"}


@pytest.mark.parametrize("name", [name for name in ORDER if name != "serializers"])
def test_every_module_has_a_test_file_of_its_name(name: str) -> None:
    assert (TESTS / f"test_{name.replace('.', '_')}.py").is_file()


@pytest.mark.parametrize("name", ORDER)
def test_all_is_what_a_module_gives(name: str) -> None:
    module = importlib.import_module(f"tornado_sse.{name}")
    for each in module.__all__:
        assert getattr(module, each) is not None
    if name != "serializers":
        tree = ast.parse(source(name).read_text("utf-8"))
        defined = {
            node.name
            for node in tree.body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and not node.name.startswith("_")
        }
        assert defined <= {*module.__all__}, "what is not exported has a leading underscore"


def test_what_the_package_exports_is_all_there_and_documented() -> None:
    public = {name for name in vars(tornado_sse) if not name.startswith("_")}
    modules = {name.split(".")[0] for name in ORDER}
    assert {*tornado_sse.__all__} - {"__version__"} == public - modules
    for name in tornado_sse.__all__:
        if name != "__version__":
            assert getattr(tornado_sse, name).__doc__, name


def test_the_map_in_the_docstring_names_every_module() -> None:
    for name in {each.split(".")[0] for each in ORDER}:
        assert f"`.{name}`" in (tornado_sse.__doc__ or ""), name


def test_no_module_is_too_long_to_read_in_one_sitting() -> None:
    lengths = {name: len(source(name).read_text("utf-8").splitlines()) for name in ORDER}
    assert {name: length for name, length in lengths.items() if length > 380} == {}
