from __future__ import annotations

import io
from typing import cast

import pytest

from tornado_sse.cli.events import EventReader
from tornado_sse.server.submission import Submission, SubmissionError

pytestmark = pytest.mark.gen_test

USUAL = Submission("a", None, "e", "k", "text")


async def batches(data: bytes, kind: str, usual: Submission = USUAL) -> list[list[Submission]]:
    file = cast(io.FileIO, io.BytesIO(data))
    return [batch async for batch in EventReader(usual, kind).batches([file])]


async def events(data: bytes, kind: str, usual: Submission = USUAL) -> list[Submission]:
    return [event for batch in await batches(data, kind, usual) for event in batch]


async def test_each_line_is_an_event_with_an_id_of_its_own(io_loop: object) -> None:
    batch = await events(b"one\n\ntwo", "text")
    assert [each._replace(id=None) for each in batch] == [
        USUAL._replace(payload=p) for p in ("one", "", "two")
    ]
    assert len({each.id for each in batch}) == 3
    (other,) = await events(b"one", "text")
    assert other.id not in {each.id for each in batch}


async def test_a_line_may_be_json(io_loop: object) -> None:
    batch = await events(b'{"a": 1}\n\n null\n', "json", USUAL._replace(serializer="json"))
    assert [each.payload for each in batch] == [{"a": 1}, None]


async def test_a_line_may_say_more(io_loop: object) -> None:
    data = b'{"data": 1, "id": "mine", "event": "x"}\n\n{"data": "2"}'
    batch = await events(data, "ndjson", USUAL._replace(serializer="json"))
    assert batch[0] == Submission("a", 1, "x", "k", "json", "mine")
    assert batch[1].id
    assert batch[1].event == "e"


async def test_what_comes_before_a_bad_line_is_there(io_loop: object) -> None:
    reader = EventReader(USUAL, "json")
    found = []
    with pytest.raises(SubmissionError, match=r"^line 4: this is no JSON"):
        async for batch in reader.batches([cast(io.FileIO, io.BytesIO(b"1\n\n2\n{\n3\n"))]):
            found += [each.payload for each in batch]
    assert found == [1, 2]


async def test_batches_fit_in_a_request(io_loop: object) -> None:
    found = await batches(b"x\n" * 1200, "text")
    assert [len(batch) for batch in found] == [500, 500, 200]
    assert [each.payload for batch in found for each in batch] == ["x"] * 1200
    found = await batches(b"x" * 120_000 + b"\n" + (b"y" * 1000 + b"\n") * 40, "text")
    assert sum(map(len, found)) == 41
    assert all(sum(len(each.payload) for each in batch) <= 128 * 1024 for batch in found)


async def test_one_payload_is_not_a_line(io_loop: object) -> None:
    (it,) = EventReader(USUAL, "text").one(b"two\nlines\n", None)
    assert it.payload == "two\nlines\n"
    assert it.id
    (it,) = EventReader(USUAL, "text").one(b"x", "mine")
    assert it.id == "mine"
    with pytest.raises(SubmissionError, match="no UTF-8"):
        EventReader(USUAL, "text").one(b"\xff", None)
