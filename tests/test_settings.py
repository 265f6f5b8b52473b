from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
import tornado.web
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from tornado_sse import SettingError, Settings, SSEHandler


def settings_of(handler_class: type[SSEHandler], **settings: Any) -> Settings:
    application = tornado.web.Application([], **settings)
    start_line = RequestStartLine("GET", "/", "HTTP/1.1")
    request = HTTPServerRequest(start_line=start_line, headers=HTTPHeaders(Host="here"), connection=Mock())
    return Settings.of(handler_class(application, request))


def test_the_defaults_are_the_documented_ones() -> None:
    settings = settings_of(SSEHandler)
    assert settings == Settings()
    assert (settings.keepalive, settings.serializer, settings.max_buffer) == (15, "json", 2**20)


def test_the_application_sets_for_all_and_a_handler_for_itself() -> None:
    class Attribute(SSEHandler):
        sse_keepalive = 5

    class Method(SSEHandler):
        def sse_keepalive(self) -> float:
            return float(len(self.request.path))

    class Property(SSEHandler):
        @property
        def sse_keepalive(self) -> float:
            return 7

    class NotAtAll(SSEHandler):
        sse_keepalive = None

    class Inherited(Attribute):
        pass

    handlers = [SSEHandler, Attribute, Method, Property, NotAtAll, Inherited]
    assert [settings_of(each, sse_keepalive=20).keepalive for each in handlers] == [20, 5, 1, 7, None, 5]


def test_equal_settings_are_one_object() -> None:
    class WithList(SSEHandler):
        def sse_allowed_origins(self) -> list[str]:
            return ["https://a.example"]

    assert settings_of(SSEHandler) is settings_of(SSEHandler)
    assert settings_of(WithList) is settings_of(WithList)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, bad)
            for name in ("keepalive", "stall_timeout")
            for bad in (0, -1, "5", True, float("nan"), 10**400)
        ),
        *(("max_age", bad) for bad in ("5", True, float("nan"), 10**400)),
        ("retry", -1),
        ("retry", float("inf")),
        *(("max_buffer", bad) for bad in (0, -1, 1.5, None, True, "1 MB")),
        *(
            (name, bad)
            for name in ("max_streams", "max_streams_per_address", "max_streams_per_user")
            for bad in (-1, 1.5, True, "5")
        ),
        *(("primer", bad) for bad in (None, 0, 1, "no")),
        *(("reauthorize", bad) for bad in (0, -1, "60", True, float("nan"))),
        *(
            ("keepalive_frame", bad)
            for bad in (
                b"",
                b"\n",
                b":",
                b"x\n",
                ":\n",
                b":\ndata: x\n\n",
                b":\nid: 1\n\n",
                b": " + b"x" * 5000 + b"\n",
            )
        ),
        *(
            ("allowed_origins", bad)
            for bad in (
                "https://a.example",
                ["null"],
                ["*"],
                ["https://a.example/"],
                ["https://a.example/x"],
                ["HTTPS://a.example"],
                ["a.example"],
                [b"https://a.example"],
                5,
            )
        ),
        *(("methods", bad) for bad in ("GET", (), ("PUT",), ("get",), (1,))),
        ("serializer", None),
        ("serializer", 5),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"^sse_{name} must ") as caught:
        settings_of(SSEHandler, **{f"sse_{name}": value})
    assert caught.value.name == f"sse_{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry", 0),
        ("max_streams", 0),
        ("max_streams_per_address", 0),
        ("max_streams_per_user", 1),
        ("primer", False),
        ("reauthorize", None),
        ("reauthorize", 0.5),
        ("keepalive_frame", b": ping\n\n"),
        ("keepalive_frame", b":\r\n\r\n"),
        ("allowed_origins", "*"),
        ("allowed_origins", ()),
        ("allowed_origins", ["http://localhost:8000", "https://a.example"]),
        ("methods", ["GET", "POST"]),
    ],
)
def test_what_makes_sense_is_taken(name: str, value: Any) -> None:
    taken = getattr(settings_of(SSEHandler, **{f"sse_{name}": value}), name)
    assert taken == value or taken == frozenset(value)


def test_a_misspelt_setting_is_not_ignored() -> None:
    with pytest.raises(SettingError, match="sse_keep_alive is no setting; did you mean sse_keepalive"):
        settings_of(SSEHandler, sse_keep_alive=5)
    with pytest.raises(SettingError, match="there are sse_serializer, "):
        settings_of(SSEHandler, sse_zzz=5)

    class Misspelt(SSEHandler):
        sse_maxage = 5

    with pytest.raises(SettingError, match="did you mean sse_max_age"):
        settings_of(Misspelt)


def test_the_broker_and_the_observer_are_known_names_and_no_values_of_a_stream() -> None:
    class Own(SSEHandler):
        sse_broker = object()
        sse_observer = object()

    assert settings_of(SSEHandler, sse_broker=object(), sse_observer=object()) is settings_of(SSEHandler)
    assert settings_of(Own) is settings_of(SSEHandler)
    with pytest.raises(SettingError, match="did you mean sse_broker"):
        settings_of(SSEHandler, sse_brokers=object())
    with pytest.raises(SettingError, match="did you mean sse_observer"):
        settings_of(SSEHandler, sse_observers=[object()])


def test_a_limit_may_depend_on_the_request() -> None:
    class Plans(SSEHandler):
        def sse_max_streams_per_user(self) -> int:
            return 10 if self.request.host == "here" else 1

    assert settings_of(Plans).max_streams_per_user == 10


def test_an_attribute_of_the_applications_own_may_have_the_prefix() -> None:
    class Own(SSEHandler):
        sse_clients: ClassVar[set[object]] = set()

    assert settings_of(Own) == Settings()


def test_a_property_that_fails_is_not_a_setting_that_is_missing() -> None:
    class Expiring(SSEHandler):
        @property
        def sse_max_age(self) -> float:
            user: Any = None
            return float(user.expires)

    with pytest.raises(AttributeError, match="expires"):
        settings_of(Expiring)


def test_only_what_is_asked_for_is_looked_up() -> None:
    class NeedsUser(SSEHandler):
        sse_methods = ("POST",)

        def sse_max_age(self) -> float:
            raise ZeroDivisionError

    application = tornado.web.Application([])
    start_line = RequestStartLine("GET", "/", "HTTP/1.1")
    request = HTTPServerRequest(start_line=start_line, headers=HTTPHeaders(Host="here"), connection=Mock())
    assert Settings.of(NeedsUser(application, request), "methods").methods == {"POST"}
