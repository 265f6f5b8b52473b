from __future__ import annotations

import pytest

from tornado_sse import SettingError
from tornado_sse.server.access import Access, Grant


def test_a_token_has_what_its_grants_say() -> None:
    access = Access([Grant("feed", publish=("prices.*", "news")), Grant("feed", subscribe=("news",))])
    feed = access.bearer("feed")
    assert feed.known
    assert [
        name for name in ("prices.A", "prices.", "news", "newsroom", "prices") if feed.may_publish(name)
    ] == [
        "prices.A",
        "prices.",
        "news",
    ]
    assert feed.may_subscribe("news")
    assert not feed.may_subscribe("prices.A")


def test_what_anybody_may_a_token_may_too() -> None:
    access = Access([Grant(None, subscribe=("public.*",)), Grant("t", publish=("*",))])
    for token in (None, "t", "unknown"):
        assert access.bearer(token).may_subscribe("public.a")
        assert not access.bearer(token).may_subscribe("private")
        assert access.bearer(token).may_publish("x") is (token == "t")


def test_anybody_may_subscribe_until_somebody_is_named() -> None:
    assert Access([]).bearer(None).may_subscribe("a")
    assert Access([Grant("t", publish=("*",))]).bearer(None).may_subscribe("a")
    assert not Access([Grant("t", subscribe=("b",))]).bearer(None).may_subscribe("a")


def test_nobody_may_publish_until_somebody_is_named() -> None:
    assert not Access([]).bearer(None).may_publish("a")
    assert Access([Grant(None, publish=("*",))]).bearer(None).may_publish("a")


@pytest.mark.parametrize("token", ["", "T", "tt", "t\0", "ü", "t "])
def test_another_token_is_another(token: str) -> None:
    assert not Access([Grant("t", publish=("*",))]).bearer(token).known


def test_a_dot_is_a_dot_and_two_asterisks_are_one() -> None:
    bearer = Access([Grant(None, publish=("a.b", "x**y"))]).bearer(None)
    assert not bearer.may_publish("aXb")
    assert bearer.may_publish("xy")
    assert bearer.may_publish("x-y")


def test_asterisks_stand_for_anything_wherever_they_are() -> None:
    bearer = Access([Grant(None, publish=("a*b*c", "*.x", "1*1"))]).bearer(None)
    names = ("abc", "abbcc", "aXbXc", "a.x", ".x", "11", "1x1", "abcd", "acb", "ab", "1", "x")
    assert [bearer.may_publish(name) for name in names] == [True] * 7 + [False] * 5


def test_no_name_takes_long_to_match() -> None:
    bearer = Access([Grant(None, publish=("*a" * 50 + "b",))]).bearer(None)
    assert not bearer.may_publish("a" * 200)


@pytest.mark.parametrize("token", ["", "a b", "a\n", "ä", "=", "a=b"])
def test_a_token_is_one_of_rfc_6750(token: str) -> None:
    with pytest.raises(SettingError, match="token must consist"):
        Grant(token)


@pytest.mark.parametrize("pattern", ["", "a b", "a/b", "[a]", "?", "a" * 201, "a\n"])
def test_a_pattern_names_channels(pattern: str) -> None:
    with pytest.raises(SettingError, match="publish must name channels"):
        Grant("t", publish=(pattern,))


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Grant("secret", publish=("*",)))
    assert "secret" not in repr(Access([Grant("secret", publish=("*",))]).bearer("secret"))
