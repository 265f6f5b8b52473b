from __future__ import annotations

import json
from typing import Any

import pytest

from tornado_sse.server.submission import (
    LINES,
    MOST_LINES,
    Submission,
    SubmissionError,
    is_lines,
    read_body,
    read_line,
)


def read(body: bytes | str, content_type: str = "", **options: Any) -> list[Submission]:
    options = {"channel": "a", **options}
    return [*read_body(body.encode() if isinstance(body, str) else body, content_type, **options)]


@pytest.mark.parametrize(
    ("content_type", "body", "payload", "serializer"),
    [
        ("", b"hi", "hi", "text"),
        ("text/plain; charset=utf-8", "grüß".encode(), "grüß", "text"),
        ("application/x-www-form-urlencoded", b"a=1&b=%zz", "a=1&b=%zz", "text"),
        ("TEXT/HTML", b"<p>\n", "<p>\n", "text"),
        ("application/json", b' {"a": 1}\n', {"a": 1}, "json"),
        ("application/activity+json", b"null", None, "json"),
        ("application/octet-stream", b"\xff", b"\xff", "binary"),
        ("image/png", b"\x89PNG", b"\x89PNG", "binary"),
        ("", b"", "", "text"),
    ],
)
def test_the_content_type_says_what_the_payload_is(
    content_type: str, body: bytes, payload: Any, serializer: str
) -> None:
    assert read(body, content_type) == [Submission("a", payload, serializer=serializer)]


def test_the_serializer_can_be_chosen() -> None:
    (it,) = read("[1]", "application/json", serializer="msgpack", event="e", key="k", id="i")
    assert it == Submission("a", [1], "e", "k", "msgpack", "i")


def test_each_line_is_an_event() -> None:
    second = {"data": None, "event": "e", "id": "1", "serializer": "text"}
    body = '{"data": 1}\r\n\n  \n' + json.dumps(second) + '\n{"data": "x", "key": "k"}'
    assert read(body, LINES, event="usual") == [
        Submission("a", 1, "usual"),
        Submission("a", None, "e", serializer="text", id="1"),
        Submission("a", "x", "usual", "k"),
    ]


def test_lines_may_name_their_channels_where_none_is_given() -> None:
    body = '{"channel": "b", "data": 1}\n{"channel": "c", "data": 2}'
    assert [each.channel for each in read(body, "application/jsonl", channel=None)] == ["b", "c"]
    assert read_line(b'{"channel": "a", "data": 1}', Submission("a", None)) == Submission("a", 1)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"\xff", "text/plain", 400, "no UTF-8 at byte 0"),
        (b"{", "application/json", 400, "no JSON"),
        (b"NaN", "application/json", 400, "no JSON"),
        (b"9007199254740993", "application/json", 400, "can't write"),
        (b'"\\ud800"', "application/json", 400, "JSON"),
        (b"[" * 100_000, "application/json", 400, "no JSON"),
        (b"[" * 300 + b"]" * 300, "application/json", 400, "can't write"),
        (b"a", "multipart/form-data; boundary=x", 415, "multipart/form-data"),
        (b"a", "application/xml", 415, "application/xml"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(
    body: bytes, content_type: str, status: int, reason: str
) -> None:
    with pytest.raises(SubmissionError, match=reason) as caught:
        read(body, content_type)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "an event is an object"),
        ("{}", "needs data"),
        ('{"data": 1, "evnt": "x"}', "no 'evnt'; it has data, channel"),
        ('{"data": 1, "event": 5}', "event must be text"),
        ('{"data": 1, "event": ""}', "event must be text, and not empty"),
        ('{"data": 1, "event": "a\\nb"}', "must not contain CR"),
        ('{"data": 1, "key": "a\\u0000"}', "must not contain"),
        ('{"data": 1, "id": "a\\r"}', "must not contain"),
        ('{"data": 1, "channel": "b"}', "all these events go to a"),
        ('{"data": 1, "serializer": "nope"}', "no serializer is called 'nope'"),
        ('{"data": 1, "serializer": "binary"}', "binary serializer"),
        ('{"data": 1', "no JSON"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(line: str, reason: str) -> None:
    with pytest.raises(SubmissionError, match=f"^line 3: .*{reason}") as caught:
        read('{"data": 1}\n\n' + line, LINES)
    assert caught.value.status == 400


def test_lines_without_a_channel_are_refused_where_none_is_given() -> None:
    with pytest.raises(SubmissionError, match="needs a channel"):
        read('{"data": 1}', LINES, channel=None)
    with pytest.raises(SubmissionError, match="a channel's name has"):
        read('{"data": 1, "channel": "../x"}', LINES, channel=None)
    with pytest.raises(SubmissionError, match="lines of JSON") as caught:
        read("x", "text/plain", channel=None)
    assert caught.value.status == 415


def test_an_id_is_for_one_event() -> None:
    with pytest.raises(SubmissionError, match="give each line its own"):
        read('{"data": 1}', LINES, id="1")


def test_there_is_a_limit_to_lines() -> None:
    line = json.dumps({"data": 1}) + "\n"
    assert len(read(line * MOST_LINES, LINES)) == MOST_LINES
    with pytest.raises(SubmissionError, match="more than 1,000") as caught:
        read(line * (MOST_LINES + 1), LINES)
    assert caught.value.status == 413


def test_lines_are_told_by_their_type() -> None:
    assert is_lines("application/x-ndjson; charset=utf-8")
    assert not is_lines("application/json")
