"""The contract of a backend, as a check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from tornado_sse.backends.base import Backend, RetentionOf
from tornado_sse.errors import BackendError
from tornado_sse.log import OVERHEAD
from tornado_sse.record import Draft, Record, format_id, parse_id
from tornado_sse.testing.probe import Probe, show
from tornado_sse.testing.retention import check_age, check_keys, check_limits, retention

__all__ = ["check_backend"]

# Names that somebody's escaping might mix up: each is a channel of its own.
_NAMES: Final = (
    "a", "A", "a.b", "a_b", "a-b", "a:b", "a=b", "a,b", "a@b", "a~b", "a+b", "a..b", "a.b.c", "a.", "a=b,c",
    "x" * 199, "x" * 200, "ab", "0", "a.b:c", "a:b.c", "a~2Eb",
)  # fmt: skip

_FRAMES: Final = (
    b"data: plain\n\n",
    b"event: quote\ndata: typed\n\n",
    b"event: quote\ncodec: msgpack\ndata: with a codec\n\n",
    b"data: \n\n",
    b"data: two\ndata: lines\n\n",
    "data: é \N{SNOWMAN} \U0001f600 \u2028\n\n".encode(),
    b"data: NUL \x00 and others \x01\x7f'\"\\%s\n\n",
    b"data: " + b"large " * 50_000 + b"\n\n",
)


async def check_backend(
    make: Callable[[RetentionOf], Backend],
    *,
    durable: bool = False,
    shared: bool = False,
    advance: Callable[[float], None] | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109 - of each call, not of all
) -> None:
    """Check that a backend keeps the contract in `tornado_sse.backends.base`.

    A coroutine that returns or raises AssertionError, so it runs under any test runner::

        def test_my_backend(tmp_path):
            asyncio.run(check_backend(lambda retention: MyBackend(tmp_path, retention), durable=True))

    :arg make: returns a new backend, not started, over a store that is empty at first and the same each time.
        Called again to open the store a second time.
    :arg durable: whether what is acknowledged is there when the store is opened again.
    :arg shared: whether a second backend over the same store, as another process would have it, sees the
        same log.
    :arg advance: lets so many seconds pass, by the clock the backend goes by. Without it, nothing is known
        about retention by age.
    :arg float timeout: how long one call may take, in seconds, and how long it may take until what is beyond
        a limit is dropped.

    A limit may be exceeded by as much again; less than the limit must not be kept.

    :raises AssertionError: at the first breach, with a sentence that says what to do. What the backend
        raised, if it should not have, is ``__cause__``.
    """
    probe = Probe(make(retention), timeout)
    probes = [probe]
    try:
        await _check_opening(probe)
        await _check_order(probe)
        await _check_frames(probe)
        await _check_telling(probe)
        await _check_following(probe)
        await _check_pages(probe)
        await check_keys(probe)
        await check_limits(probe)
        await _check_message_ids(probe)
        if advance is not None:
            await check_age(probe, advance)
        await _check_names(probe)
        if shared:
            if not probe.backend.shared:
                probe.fail("says that it is not shared; set shared = True")
            probes.append(Probe(make(retention), timeout))
            await _check_sharing(probe, probes.pop())
        await _check_closing(probe)
        probes = [Probe(make(retention), timeout)]
        await _check_reopening(probe, probes[0], durable=durable)
    finally:
        for each in probes:
            # What is wrong with this has been found out above, or does not matter beside something worse.
            with suppress(Exception):
                async with asyncio.timeout(timeout):
                    await each.backend.close()


async def _check_opening(probe: Probe) -> None:
    await probe.sync()
    epoch = probe.backend.epoch
    if not isinstance(epoch, str) or parse_id(format_id(epoch, 1)) != (epoch, 1):
        probe.fail(
            f"has the epoch {epoch!r} after sync(); use up to 32 letters a-z and digits, as new_epoch() does"
        )


async def _check_order(probe: Probe) -> None:
    """Whatever is appended gets a higher position than all before it, and is there once."""
    begun = [probe.begin(f"order.{i % 3}", b"data: %d\n\n" % i) for i in range(30)]
    positions = [await probe.settle(each) for each in begun]
    if positions != sorted({*positions}):
        probe.fail(f"gives the positions {positions} to appends in order; a later call has a higher one")

    async def publish(name: str) -> list[int]:
        return [await probe.append(name) for _ in range(10)]

    runs = await asyncio.gather(*(publish(f"order.{i % 3}") for i in range(20)))
    for run in runs:
        if run != sorted(run) or run[0] <= positions[-1]:
            probe.fail(f"gives the positions {run} to appends one after the other; a later one is higher")
    for i in range(3):
        name = f"order.{i}"
        probe.same(await probe.all(name), probe.appended(name), f"read({name!r})")
    probe.look()


async def _check_frames(probe: Probe) -> None:
    """Every byte comes back, with the id where it belongs, whichever way."""
    log = await probe.follow("frames")
    begin = len(probe.told)
    for frame in _FRAMES:
        await probe.append("frames", frame)
    expected = probe.appended("frames")
    probe.same(probe.told[begin:], expected, "the listener")
    probe.same(await probe.all("frames"), expected, "read()")
    probe.whole(log, expected)
    probe.unfollow("frames")
    probe.look()


async def _check_telling(probe: Probe) -> None:
    """Who follows one channel is told of that channel, and of how far all of them have got."""
    await probe.append("told.yes")
    log = await probe.follow("told.yes")
    begin, before = len(probe.told), probe.backend.position
    for name in ("told.no", "told.yes", "told.no", "told.yes", "told.no"):
        position = await probe.append(name)
        if probe.position < position:
            probe.fail(
                f"has told up to {probe.position} when {position} is acknowledged; unfollowed channels count"
            )
    expected = [each for each in probe.appended("told.yes") if each > before]
    probe.same(probe.told[begin:], expected, "the listener")
    probe.whole(log, probe.appended("told.yes"))
    probe.unfollow("told.yes")
    probe.unfollow("told.never")
    await probe.append("told.yes")
    await probe.sync()


async def _check_following(probe: Probe) -> None:
    """A log from follow() goes over into what is told without a hole, however many append meanwhile."""
    name = "followed"
    running = True

    async def publish() -> None:
        while running:
            await probe.append(name)
            await asyncio.sleep(0)

    publishers = [asyncio.ensure_future(publish()) for _ in range(5)]
    seen: list[tuple[list[Record], int, int, list[Record], int]] = []
    try:
        for _ in range(20):
            log = await probe.follow(name)
            at, begin = probe.backend.position, len(probe.told)
            held, start = probe.held(log), log.start
            for _ in range(3):
                await probe.append("followed.not")
                await asyncio.sleep(0)  # where nothing has to wait, the others get their turn by this
            seen.append((held, start, at, probe.told[begin:], probe.position))
            probe.unfollow(name)
    finally:
        running = False
        await asyncio.gather(*publishers)
    appended = probe.appended(name)
    for held, start, at, told, upto in seen:
        probe.same(held, [each for each in appended if start < each <= at], "the log from follow() meanwhile")
        probe.same(told, [each for each in appended if at < each <= upto], "what is told after follow()")
    probe.look()


async def _check_pages(probe: Probe) -> None:
    """Pages have bounds, and nothing is between them."""
    name, size = "pages", 1_000
    for length in (100, 200, 5_000, 100, 300, 100, 100, 900, 1, 100):
        await probe.append(name, b"data: %b\n\n" % (b"x" * length))
    appended = probe.appended(name)
    await probe.append("pages.other")
    for limit in (1, size, 100 * size):
        records: list[Record] = []
        after, more = 0, True
        while more:
            page = await probe.page(name, after, limit)
            sizes = [len(record.frame) + OVERHEAD for record in page.records]
            if not sizes:
                probe.fail("reads an empty page where there are events; return one at least, however large")
            if sum(sizes[:-1]) >= limit:
                probe.fail(f"reads {sum(sizes)} bytes where {limit} were asked for; stop at the first beyond")
            if page.floor >= appended[0]:
                probe.fail(
                    f"says that events up to {page.floor} may be missing, but nothing has been dropped"
                )
            records += page.records
            after, more = page.records[-1].position, page.more
        probe.same(records, appended, f"read() in pages of {limit} bytes")
    for empty, after in ((name, appended[-1]), (name, 10**18), ("pages.never", 0)):
        page = await probe.page(empty, after)
        if page.records or page.more:
            probe.fail(f"reads {show(page)} where there is nothing; an empty page, and no more")


async def _check_message_ids(probe: Probe) -> None:
    """What is appended again is there once, where it was first, and does not undo what came after it."""
    name = "once"
    await probe.follow(name)
    begin = len(probe.told)
    drafts = [
        Draft(name, b"data: %d\n\n" % number, f"k{number}" if number % 2 else None, f"{number} '\N{SNOWMAN}")
        for number in range(10)
    ]
    # The second of each while the first is on its way.
    pairs = [(probe.offer(draft), probe.repeat(draft)) for draft in drafts]
    positions = [(await probe.settle(first), await again) for first, again in pairs]
    replacing = await probe.append(name, b"data: latest\n\n", "k1")
    await probe.append("once.other")
    for draft, (first, again) in zip(drafts, positions, strict=True):
        for position in (again, await probe.repeat(draft)):
            if position != first:
                probe.fail(
                    f"appends {show(draft)} at {first} and again at {position}; a message id is appended once"
                )
    await probe.settle(probe.offer(drafts[0]._replace(channel="once.other")))
    await probe.sync()
    appended = [first for first, _ in positions] + [replacing]
    probe.same(probe.told[begin:], appended, "the listener")
    appended.remove(positions[1][0])
    probe.same(await probe.all(name), appended, "read() of what was appended twice")
    probe.unfollow(name)


async def _check_names(probe: Probe) -> None:
    """No two names are taken for each other, and there may be many."""
    names = (*_NAMES, *(f"many.{i}" for i in range(300)))
    before = probe.backend.position
    begun = [(name, probe.begin(name, b"data: %b\n\n" % name.encode(), "k" if i % 2 else None))
             for i, name in enumerate(names)]  # fmt: skip
    positions = {name: await probe.settle(each) for name, each in begun}
    for name, position in positions.items():
        probe.same(
            await probe.all(name, before), [position], f"read({show(name)}), which is a channel of its own,"
        )
    probe.look()


async def _check_sharing(one: Probe, two: Probe) -> None:
    """Two processes have one log."""
    name = "shared"
    try:
        at = await one.append(name)
        if await two.sync() < at:
            two.fail(
                f"has not heard of position {at} when sync() returns, which another process had acknowledged"
            )
        draft = Draft(f"{name}.once", b"data: x\n\n", None, "m")
        first, again = await one.settle(one.offer(draft)), await two.repeat(draft)
        if again != first:
            two.fail(f"appends at {again} what another process has appended at {first}, by its message id")
        if one.backend.epoch != two.backend.epoch:
            two.fail(f"has the epoch {two.backend.epoch!r}, and another process has {one.backend.epoch!r}")
        two.acknowledged = one.acknowledged
        two.same(await two.all(name), [at], "read() of what another process has appended")
        for probe in (one, two):
            await probe.follow(name)
        begins = [len(probe.told) for probe in (one, two)]

        async def publish(probe: Probe) -> None:
            for _ in range(30):
                await probe.append(name)
                await probe.append(f"{name}.other")

        await asyncio.gather(publish(one), publish(two), publish(one), publish(two))
        appended = [each for each in one.appended(name) if each > at]

        async def problem() -> str:
            behind = [probe for probe in (one, two) if probe.position < appended[-1]]
            return (
                f"never tells of what another process has appended; it is at {behind[0].position}"
                if behind
                else ""
            )

        await one.until(problem)
        for probe, begin in zip((one, two), begins, strict=True):
            probe.look()
            probe.same(probe.told[begin:], appended, "the listener, of two processes that append,")
            probe.whole(probe.logs[name], [at, *appended])
            probe.unfollow(name)
    finally:
        await two.close()


async def _check_closing(probe: Probe) -> None:
    """What has been appended is finished; what is asked later fails, and says so."""
    begun = [asyncio.ensure_future(probe.begin("closing")) for _ in range(50)]
    await probe.close()
    _, pending = await asyncio.wait(begun, timeout=probe.timeout)
    if pending:
        probe.fail("leaves appends without an answer when it is closed; finish them")
    for each in begun:
        await probe.settle(each)
    backend = probe.backend
    await probe.close()

    async def append() -> object:
        result = backend.append(Draft("closing", b"data: x\n\n"))
        return result if isinstance(result, int) else await result

    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "append()": append,
        "sync()": backend.sync,
        "follow()": lambda: backend.follow("closing"),
        "read()": lambda: backend.read("closing", 0, 1),
        "state()": lambda: backend.state("closing"),
    }
    for name, ask in asked.items():
        try:
            async with asyncio.timeout(probe.timeout):
                result = await ask()
        except BackendError:
            continue
        except Exception as error:
            probe.fail(
                f"raises {type(error).__name__} in {name} when it has been closed; raise BackendError", error
            )
        probe.fail(f"returns {show(result)} from {name} when it has been closed; raise BackendError")


async def _check_reopening(before: Probe, after: Probe, *, durable: bool) -> None:
    """As long as the epoch is the same, everything is where it was."""
    last = max(before.acknowledged)
    position = await after.sync()
    if after.backend.epoch != before.backend.epoch:
        if durable:
            after.fail("has another epoch when it is opened again; keep it with the events")
        if await after.all("order.0"):
            after.fail("has the events it had, but another epoch")
        return
    if position < last:
        after.fail(
            f"is at {position} when it is opened again, where {last} had been acknowledged; begin a new epoch"
        )
    after.acknowledged = before.acknowledged
    for name in ("order.0", "frames", "closing"):
        after.same(await after.all(name), after.appended(name), f"read({name!r}), opened again,")
    floor = (await after.page("limited.events")).floor
    if floor < after.appended("limited.events")[0]:
        after.fail("forgets what has been dropped when it is opened again; keep the floor with the events")
    if await after.append("order.0") <= last:
        after.fail(f"uses position {last} or one before it again; never within an epoch")
