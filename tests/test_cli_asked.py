from __future__ import annotations

import click
import pytest

from tornado_sse.cli.asked import headers_of


def test_headers_are_taken_apart_at_the_colon() -> None:
    assert headers_of(["A: b:c", "X:"], "t") == {"A": "b:c", "X": "", "Authorization": "Bearer t"}


@pytest.mark.parametrize(("given", "token"), [(["no header"], None), ([": value"], None), ([], "a\nb")])
def test_what_is_none_is_a_usage_error(given: list[str], token: str | None) -> None:
    with pytest.raises(click.UsageError):
        headers_of(given, token)
