from __future__ import annotations

import tornado.web

from tornado_sse import SSEHandler
from tornado_sse.following import FollowingHandler


def test_a_handler_may_follow_channels_by_three_names() -> None:
    assert issubclass(SSEHandler, FollowingHandler)
    own = {name for name in vars(FollowingHandler) if not name.startswith("_")}
    assert own == {"subscribe", "authorize", "snapshot"}
    assert not own & {*dir(tornado.web.RequestHandler)}, "none of them takes the place of one of Tornado's"


def test_everybody_may_follow_everything_unless_a_handler_says_otherwise() -> None:
    handler = object.__new__(SSEHandler)
    assert handler.authorize("a") is True
    assert handler.snapshot("a") is None
