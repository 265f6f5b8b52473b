from __future__ import annotations

import os
import threading
from io import FileIO
from pathlib import Path

import pytest

from tests.support import within
from tornado_sse.cli import source
from tornado_sse.cli.source import SourceError, read_lines

pytestmark = pytest.mark.gen_test


async def collect(*files: FileIO) -> list[bytes]:
    return [line async for lines in read_lines(files) for line in lines]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb\n\nc", [b"a", b"b", b"", b"c"]),
        (b"\n", [b""]),
        (b"a\rb\x85\x0b\n", [b"a\rb\x85\x0b"]),
        (b"x" * 200_000 + b"\ny", [b"x" * 200_000, b"y"]),
        (b"1\n" * 100_000, [b"1"] * 100_000),
    ],
)
async def test_lines_end_with_lf(io_loop: object, tmp_path: Path, data: bytes, lines: list[bytes]) -> None:
    (tmp_path / "file").write_bytes(data)
    with FileIO(tmp_path / "file") as file:
        assert await collect(file) == lines


async def test_files_follow_each_other(io_loop: object, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    with FileIO(tmp_path / "a") as first, FileIO(tmp_path / "b") as second:
        assert await collect(first, second) == [b"a", b"b"]


async def test_a_line_is_there_before_the_next_is_written(io_loop: object) -> None:
    reading, writing = os.pipe()
    with FileIO(reading) as file:
        lines = read_lines([file])
        for text in (b"one", b"two"):
            os.write(writing, text + b"\n")
            assert await within(anext(lines)) == [text]
        os.close(writing)
        assert [each async for each in lines] == []


async def test_a_line_has_a_limit(io_loop: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LONGEST", 100)
    (tmp_path / "file").write_bytes(b"a\n" + b"x" * 101)
    with FileIO(tmp_path / "file") as file, pytest.raises(SourceError, match="more than 100 bytes"):
        await collect(file)


async def test_what_cannot_be_read_is_named(io_loop: object) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    file = FileIO(reading)
    os.close(reading)
    with pytest.raises(SourceError, match="Bad file descriptor"):
        await collect(file)
    with pytest.raises(OSError):
        file.close()


async def test_who_stops_reading_leaves_no_thread_at_work(io_loop: object) -> None:
    reading, writing = os.pipe()
    with FileIO(reading) as file:
        lines = read_lines([file])
        os.write(writing, b"a\n")
        assert await within(anext(lines)) == [b"a"]
        await lines.aclose()  # type: ignore[attr-defined]
        os.close(writing)
        for thread in threading.enumerate():
            if thread.name == "tornado-sse reader":
                assert thread.daemon
