from __future__ import annotations

from pathlib import Path

import pytest

from tornado_sse import SettingError
from tornado_sse.cli.config import read_config
from tornado_sse.server import Grant

NAMES = ("broker", "max-body", "publish-token")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_values_and_grants_are_read(path: Path) -> None:
    path.write_text("""
        broker = "memory://"
        max-body = 65_536
        publish-token = ["a", "b"]

        [[grant]]
        token = "feed"
        publish = ["prices.*", "news"]

        [[grant]]
        anybody = true
        subscribe = ["news"]
    """)
    values, grants = read_config(path, NAMES)
    assert values == {"broker": "memory://", "max-body": 65536, "publish-token": ["a", "b"]}
    assert grants == (Grant("feed", ("prices.*", "news")), Grant(None, (), ("news",)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("brokr = 'x'", "the unknown name 'brokr'; did you mean broker?"),
        ("zzz = 1", "the unknown name 'zzz'; there are broker, grant, max-body, publish-token"),
        ("a = = 1", "is no TOML"),
        ("grant = 1", r"write \[\[grant\]\]"),
        ("[grant]\ntoken = 'a'", r"write \[\[grant\]\]"),
        ("[[grant]]\npublish = ['a']", "grant 1 needs token"),
        ("[[grant]]\nanybody = true\ntoken = 'a'\npublish = ['a']", "grant 1 needs token"),
        ("[[grant]]\nanybody = false\npublish = ['a']", "grant 1 needs token"),
        ("[[grant]]\nanybody = 1\npublish = ['a']", "grant 1 needs token"),
        ("[[grant]]\ntoken = 5\npublish = ['a']", "grant 1 has a token that is no text"),
        ("[[grant]]\ntoken = ''\npublish = ['a']", "grant 1 token must consist"),
        ("[[grant]]\ntoken = 'a'", "grant 1 grants nothing"),
        ("[[grant]]\ntoken = 'a'\npublish = 'a'", r"a list of channels, as in publish = \["),
        ("[[grant]]\ntoken = 'a'\nsubscribe = [1]", r"a list of channels, as in subscribe = \["),
        ("[[grant]]\ntoken = 'a'\npublish = ['a b']", "publish must name channels"),
        ("[[grant]]\ntoken = 'a'\npublsh = ['a']", "'publsh' in grant 1; did you mean publish?"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_place(path: Path, text: str, reason: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingError, match=reason) as caught:
        read_config(path, NAMES)
    assert str(caught.value).startswith(str(path))


def test_a_token_is_not_in_the_error(path: Path) -> None:
    path.write_text("[[grant]]\ntoken = 'a secret'\npublish = ['a']")
    with pytest.raises(SettingError) as caught:
        read_config(path, NAMES)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(path: Path) -> None:
    with pytest.raises(SettingError, match="can't be read: No such file"):
        read_config(path, NAMES)
    path.write_bytes(b"broker = '\xff'")
    with pytest.raises(SettingError, match="is no TOML"):
        read_config(path, NAMES)
