from __future__ import annotations

from tornado_sse.channel import Channel


def test_a_channel_begins_without_followers_groups_or_a_log() -> None:
    channel = Channel("a")
    assert (channel.name, channel.followers, channel.groups, channel.log) == ("a", 0, set(), None)
