from __future__ import annotations

import pytest

from tornado_sse.backends.url import BackendURL, choice, seconds
from tornado_sse.errors import SettingError


def test_its_parts() -> None:
    url = BackendURL("Redis://user:pass%40word@host:6379/0?timeout=2.5&mode=b%61")
    assert (url.scheme, url.netloc, url.path) == ("redis", "user:pass%40word@host:6379", "/0")
    assert url.parameters({"timeout": seconds, "mode": choice("ba", "c")}) == {"timeout": 2.5, "mode": "ba"}
    assert url.unquoted("a%20b") == "a b"
    assert BackendURL("memory://").parameters({}) == {}


@pytest.mark.parametrize(
    "text",
    [
        "redis://secret@h/0?x=1",
        "redis://me:secret@h/0?x=1",
        "redis://:secret@h",
        "redis://:s/ecret@h",
        "x://secret@",
    ],
)
def test_a_password_is_never_shown(text: str) -> None:
    url = BackendURL(text)
    assert "ecret" not in f"{url} {url!r}"
    with pytest.raises(SettingError) as caught:
        BackendURL(f"{text}?x=1#y").parameters({})
    assert "ecret" not in str(caught.value)


@pytest.mark.parametrize("text", ["no URL with a secret@", "://secret@x", "1x://secret@x#"])
def test_not_in_what_is_no_url_either(text: str) -> None:
    with pytest.raises(SettingError, match="must be a URL like memory://"):
        BackendURL(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "+1", "1.", ".5", "nan", "\u0665", "1 ", "12345678"])
def test_seconds_are_a_plain_positive_number(text: str) -> None:
    with pytest.raises(SettingError, match="timeout is a positive number of seconds, not "):
        BackendURL(f"x://?timeout={text}").parameters({"timeout": seconds})


def test_a_choice_names_what_there_is() -> None:
    with pytest.raises(SettingError, match="storage is file or memory, not 'tape'"):
        BackendURL("x://?storage=tape").parameters({"storage": choice("file", "memory")})
