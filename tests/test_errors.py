from __future__ import annotations

import inspect
import re

import pytest

from tornado_sse import errors


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    lines = re.findall(r"^    ([│├└─ ]*)(\w+Error)(?:\s+\((\w+)\))?", errors.__doc__ or "", re.MULTILINE)
    drawn = {}
    path: list[str] = []
    for branches, name, builtin in lines:
        depth = len(branches) // 4
        path[depth:] = [name]
        drawn[name] = (path[depth - 1] if depth else "Exception", builtin)
    classes = [
        each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__
    ]
    actual = {
        each.__name__: (each.__bases__[0].__name__, "".join(base.__name__ for base in each.__bases__[1:]))
        for each in classes
    }
    assert drawn == actual
    assert sorted(errors.__all__) == sorted(actual)


SENTENCES = [
    (errors.InvalidEventError("id", "a\nb", "must not contain CR"), r"id must not contain CR: 'a\nb'"),
    (
        errors.EventTooLargeError(1024),
        "an event exceeds the limit of 1,024 bytes; max_event_size allows larger ones",
    ),
    (
        errors.SerializerNotFoundError("yaml", ["json", "text"]),
        "no serializer is called 'yaml'; there are json, text",
    ),
    (
        errors.SerializerNotFoundError("cbor", ["json"], hint="pip install tornado-sse-cbor"),
        "no serializer is called 'cbor'; there are json. pip install tornado-sse-cbor",
    ),
    (errors.SerializerPluginError("dist[x]", "does not load"), "serializer plugin dist[x]: does not load"),
    (errors.EncodeError("json", "NaN"), "the json serializer can't write this payload: NaN"),
    (errors.DecodeError("json", "NaN"), "the json serializer can't read this data: NaN"),
    (errors.SettingError("sse_x", "is no setting"), "sse_x is no setting"),
    (errors.UpgradeError("no"), "no"),
    (
        errors.BufferFullError(2000, 0, 1000),
        "an event of 2,000 bytes is larger than sse_max_buffer (1,000 bytes)",
    ),
    (
        errors.BufferFullError(200, 900, 1000),
        "900 bytes are waiting for a slow reader, and 200 more would exceed sse_max_buffer (1,000 bytes); "
        "await each write() to go at the reader's pace",
    ),
    (
        errors.InvalidChannelError("a b"),
        "a channel's name has 1 to 200 characters: letters and digits of ASCII and . _ - : @ ~ + = , "
        "and begins with a letter or digit; 'a b' does not",
    ),
    (errors.SubscribeError("a stream subscribes once"), "a stream subscribes once"),
    (errors.BrokerClosedError("the broker has been closed"), "the broker has been closed"),
    (errors.BackendError("sqlite", "no room"), "the sqlite log failed: no room"),
    (
        errors.BackendNotFoundError("gopher://x", ["memory://", "sqlite:///"]),
        "no backend serves 'gopher://x'; there are memory://, sqlite:///",
    ),
    (errors.BackendPluginError("dist[x]", "does not load"), "backend plugin dist[x]: does not load"),
    (errors.ConnectionFailedError("http://a/b?token=c", "broke off"), "http://a/b: broke off"),
    (
        errors.ResponseError("http://a/b?token=c", 404, None, "answered 404 Not Found", "<html>"),
        "http://a/b answered 404 Not Found",
    ),
    (
        errors.RedirectError("https://a/", "http://b/?token=c", "it leaves TLS"),
        "https://a/ redirects to 'http://b/': it leaves TLS",
    ),
    (errors.StreamClosedError("stalled"), "the stream has ended (stalled)"),
]


@pytest.mark.parametrize(
    ("error", "sentence"), SENTENCES, ids=[type(error).__name__ for error, _ in SENTENCES]
)
def test_an_error_says_what_to_do(error: errors.SSEError, sentence: str) -> None:
    assert str(error) == sentence
    assert isinstance(error, errors.SSEError)


def test_every_error_has_its_sentence_tested() -> None:
    abstract = {"SSEError", "SerializerError", "EventSourceError", "BrokerError"}
    assert {type(error).__name__ for error, _ in SENTENCES} == {*errors.__all__} - abstract


def test_a_closed_stream_is_a_lost_connection_to_those_who_only_know_that() -> None:
    assert isinstance(errors.StreamClosedError(), ConnectionError)
