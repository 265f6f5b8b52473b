"""What a backend keeps of a channel, and what it drops: the part of its contract, as checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Record
from tornado_sse.testing.probe import Probe

__all__ = ["check_age", "check_keys", "check_limits", "retention"]

_UNLIMITED: Final = Retention(events=None, bytes=None, age=None, keys=None)

# The channels that are not kept whole.
_LIMITED: Final = {
    "limited.events": Retention(events=10, bytes=None, age=None, keys=None),
    "limited.bytes": Retention(events=None, bytes=10_000, age=None, keys=None),
    "limited.keys": Retention(events=5, bytes=None, age=None, keys=5),
    "limited.age": Retention(events=None, bytes=None, age=60.0, keys=None),
}

_KEYS: Final = ("", "k", "K", "k ", "é", "'; --", "k:\x7f", "k" * 1_000)


def retention(channel: str) -> Retention:
    """Return how much is to be kept of a channel while a backend is checked."""
    return _LIMITED.get(channel, _UNLIMITED)


async def check_keys(probe: Probe) -> None:
    """What has been replaced is gone at once, and has not been missed."""
    name = "keys"
    log = await probe.follow(name)
    first = await probe.append(name, b"data: old\n\n", "k")
    between = await probe.append(name, b"data: without\n\n")
    other = await probe.append("keys.other", b"data: other\n\n", "k")
    last = {key: await probe.append(name, b"data: %b\n\n" % key.encode(), key) for key in _KEYS}
    await probe.append(name)
    expected = [each for each in probe.appended(name) if each != first]
    page = await probe.page(name)
    probe.same(page.records, expected, "read(), where the first of two with one key has been replaced,")
    if page.floor >= first:
        probe.fail(f"moves the floor to {page.floor} for an event that has been replaced; it was not missed")
    probe.whole(log, expected, "the log from follow(), where one has been replaced,")
    probe.same(await probe.state(name), sorted(last.values()), "state(), which has the keys' latest only,")
    latest = [record for record in log.state() if record.position > log.start]
    expected = [position for position in sorted(last.values()) if position > log.start]
    probe.same(latest, expected, "the state of the log from follow()")
    probe.same(await probe.state("keys.other"), [other], "state() of another channel with the same key")
    again = await probe.append(name, b"data: new\n\n", "é")
    last["é"] = again
    probe.same(await probe.state(name), sorted(last.values()), "state() after another update")
    if between not in [record.position for record in await probe.all(name)]:
        probe.fail("drops an event without a key for one with a key")
    probe.unfollow(name)
    if await probe.state("keys.never"):
        probe.fail("has a state of a channel without events")


async def check_limits(probe: Probe) -> None:
    """What is beyond a limit is dropped, from the beginning, and the floor says so."""
    frame = b"data: %b\n\n" % (b"x" * 900)
    size = len(frame) + 50 + OVERHEAD  # the id is shorter than that
    for name, fewest, most in (("limited.events", 10, 20), ("limited.bytes", 10_000 // size, 20_000 // 900)):
        log = await probe.follow(name)
        for _ in range(60):
            await probe.append(name, frame)
        await _check_cut(probe, name, probe.appended(name), fewest, most, probe.all)
        if log.start < probe.appended(name)[0] and len(log) < 60:
            probe.fail(
                f"keeps {len(log)} of 60 events in the log from follow(), but says that none is missing"
            )
        probe.unfollow(name)
    huge = await probe.append("limited.bytes", b"data: %b\n\n" % (b"x" * 20_000))
    if huge not in [record.position for record in await probe.all("limited.bytes")]:
        probe.fail("drops the newest event because it is larger than its channel's limit; keep it")

    name = "limited.keys"
    keyed = [await probe.append(name, key=f"key {i}") for i in range(20)]
    await _check_cut(probe, name, keyed, 5, 10, probe.state)
    latest = [record.position for record in await probe.state(name)]
    for _ in range(30):
        await probe.append(name)
    probe.same(await probe.state(name), latest, "state(), after many events without a key,")


async def _check_cut(
    probe: Probe,
    name: str,
    appended: Sequence[int],
    fewest: int,
    most: int,
    read: Callable[[str], Awaitable[Sequence[Record]]],
) -> None:
    async def problem() -> str:
        kept = await read(name)
        if len(kept) < fewest:
            probe.fail(f"keeps {len(kept)} events of {name!r}, where {fewest} are within the limit")
        probe.same(kept, appended[-len(kept) :], f"{name!r}, which is to be cut at its beginning only")
        if len(kept) < len(appended):
            dropped = appended[-len(kept) - 1]
            floor = (await probe.page(name)).floor
            if floor < dropped:
                probe.fail(f"has dropped position {dropped} of {name!r}, but its floor is {floor}; raise it")
        if len(kept) <= most:
            return ""
        return f"keeps {len(kept)} events of {name!r}, where more than {most} are beyond its limit"

    await probe.until(problem)


async def check_age(probe: Probe, advance: Callable[[float], None]) -> None:
    """What is too old is dropped, with a key or without, though nobody writes to its channel."""
    name = "limited.age"
    old = [await probe.append(name), await probe.append(name, key="k")]
    advance(30)
    young = await probe.append(name)
    advance(31)

    async def problem() -> str:
        await probe.append("age.other")
        found = [record.position for record in await probe.all(name)]
        if young not in found:
            probe.fail("drops an event that is younger than its channel's limit of age")
        return f"still has an event of {name!r} that is too old" if found != [young] else ""

    await probe.until(problem)
    page = await probe.page(name)
    if page.floor < old[-1]:
        probe.fail(f"has dropped position {old[-1]} for its age, but the floor is {page.floor}")
    advance(61)

    async def remaining() -> str:
        await probe.append("age.other")
        return f"never drops the last event of {name!r}, which is too old" if await probe.all(name) else ""

    await probe.until(remaining)
    page = await probe.page(name)
    if page.floor < young:
        probe.fail(
            f"has forgotten {name!r}, and with it that position {young} is gone: the floor is {page.floor}"
        )
