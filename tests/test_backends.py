from __future__ import annotations

from pathlib import Path

import pytest

from tornado_sse.backends import MemoryBackend, SQLiteBackend, open_backend
from tornado_sse.errors import BackendNotFoundError, SettingError
from tornado_sse.log import Retention


def retention(channel: str) -> Retention:
    return Retention()


@pytest.mark.parametrize("url", [None, "memory://", "MEMORY://", "memory:///"])
def test_memory(url: str | None) -> None:
    assert isinstance(open_backend(url, retention), MemoryBackend)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///events.db", "events.db"),
        ("sqlite:///data/events.db", "data/events.db"),
        ("sqlite:///./events.db", "events.db"),
        ("sqlite:////var/lib/events.db", "/var/lib/events.db"),
        ("SQLite:////var/lib/events.db", "/var/lib/events.db"),
        ("sqlite:////with%20space/a%3Fb%23c%25d.db", "/with space/a?b#c%d.db"),
        ("sqlite:////caf%C3%A9.db", "/café.db"),
        ("sqlite:////café.db", "/café.db"),
        ("sqlite:////a+b.db", "/a+b.db"),
    ],
)
def test_the_path_of_a_database(url: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = open_backend(url, retention)
    assert isinstance(backend, SQLiteBackend)
    assert backend._path == str(tmp_path / path)  # an absolute path stays what it is
    assert not [*tmp_path.iterdir()], "nothing is made before it is started"


@pytest.mark.parametrize(
    ("url", "durability"),
    [
        ("sqlite:///a.db", "process"),
        ("sqlite:///a.db?", "process"),
        ("sqlite:///a.db?durability=process", "process"),
        ("sqlite:///a.db?durability=power", "power"),
    ],
)
def test_durability(url: str, durability: str) -> None:
    backend = open_backend(url, retention)
    assert isinstance(backend, SQLiteBackend)
    assert backend._durability == durability


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "broker must be a URL like memory:// or sqlite:///path/of/a/file.db or redis://host or nats://"),
        ("events.db", "must be a URL like"),
        ("sqlite:events.db", "must be a URL like"),
        ("sqlite:///a.db#part", "must be a URL like"),
        ("sqlite://", "names no file; write sqlite:///events.db"),
        ("sqlite:///", "names no file; write sqlite:///events.db"),
        ("sqlite://events.db", "names no file; write sqlite:///events.db"),
        ("sqlite://data/events.db", "names no file; write sqlite:///data/events.db"),
        ("sqlite:///:memory:", "needs the path of a database file, not ':memory:'; or use memory://"),
        ("sqlite:///a%00b", "needs the path of a database file"),
        ("sqlite:///100%", "has a % that is not followed by two hexadecimal digits"),
        ("sqlite:///%FF", "has escapes that are not UTF-8"),
        ("sqlite:///a.db?durability=full", "durability is process or power, not 'full'"),
        ("sqlite:///a.db?durability", "durability is process or power, not ''"),
        ("sqlite:///a.db?durability=power&durability=power", "has the parameter 'durability' twice"),
        ("sqlite:///a.db?timeout=5", "has the parameter 'timeout'; there is durability"),
        ("sqlite:///a.db?durability=power&", "has the parameter ''; there is durability"),
        ("memory://?durability=power", "has the parameter 'durability'; there is none"),
        ("memory://host", "memory:// has no host and no path"),
    ],
)
def test_a_url_that_makes_no_sense_is_told_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        open_backend(url, retention)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("url", ["kafka://host", "postgres:///x", "file:///events.db", "sqlite3:///a.db"])
def test_another_scheme_is_told_which_there_are(url: str) -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        open_backend(url, retention)
    there = "memory://, sqlite:///path/of/a/file.db, redis://host, nats://host"
    assert str(caught.value) == f"no backend serves {url!r}; there are {there}"


def test_a_url_that_is_no_text() -> None:
    with pytest.raises(SettingError, match="must be a URL"):
        open_backend(5, retention)  # type: ignore[arg-type]
