from __future__ import annotations

from tornado_sse import Ending


def test_an_ending_is_a_word() -> None:
    assert [*map(str, Ending)] == ["finished", "complete", "closed", "failed"]
