"""A channel that is followed: one log, and the groups of its subscribers."""

from __future__ import annotations

import asyncio

from tornado_sse.group import Group
from tornado_sse.log import ChannelLog

__all__ = ["Channel"]


class Channel:
    """A channel as long as anybody in this process follows it."""

    __slots__ = ("followers", "groups", "log", "name", "opening")

    def __init__(self, name: str) -> None:
        self.name = name
        #: How many subscribers it has, those that are just coming included.
        self.followers = 0
        #: Its log in memory, once the backend has handed it over.
        self.log: ChannelLog | None = None
        #: The backend's answer to that, while it is awaited.
        self.opening: asyncio.Future[ChannelLog] | None = None
        #: The groups of its subscribers; a group may belong to several channels.
        self.groups: set[Group] = set()
