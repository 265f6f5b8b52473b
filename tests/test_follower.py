from __future__ import annotations

import inspect

from tornado_sse.follower import Follower
from tornado_sse.subscriber import Subscriber


def test_a_subscriber_is_one() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        names = [name for name in vars(Follower) if not name.startswith("_")]
        return {name: list(inspect.signature(getattr(kind, name)).parameters) for name in names}

    assert calls(Subscriber) == calls(Follower)
    assert set(calls(Follower)) == {"settle", "on_blocked", "on_drained", "on_end"}
