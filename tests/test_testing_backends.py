"""Each of these backends has one fault, and is refused for that fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tornado_sse.backends import Backend, MemoryBackend, Page, RetentionOf, SQLiteBackend
from tornado_sse.errors import BackendError
from tornado_sse.log import ChannelLog, Retention
from tornado_sse.record import Draft, Record
from tornado_sse.testing import check_backend

pytestmark = pytest.mark.gen_test


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Variant(MemoryBackend):
    """A backend in memory with places to put a fault in."""

    clock = Clock()

    def __init__(self, retention: RetentionOf) -> None:
        super().__init__(retention, self.clock)

    def begun(self, draft: Draft) -> Draft:
        return draft

    def page(self, page: Page, channel: str, after: int, size: int) -> Page:
        return page

    def append(self, draft: Draft) -> Any:
        return super().append(self.begun(draft))

    async def read(self, channel: str, after: int, size: int) -> Page:
        return self.page(await super().read(channel, after, size), channel, after, size)


def appending(function: Callable[[Any, Draft], Any]) -> type[Variant]:
    return type("Appending", (Variant,), {"append": function})


def altering(function: Callable[[Any, Draft], Draft]) -> type[Variant]:
    return type("Altering", (Variant,), {"begun": function})


def reading(function: Callable[[Page, str, int, int], Page]) -> type[Variant]:
    return type("Reading", (Variant,), {"page": lambda self, *arguments: function(*arguments)})


def keeping(function: Callable[[Retention], Retention]) -> type[Variant]:
    class Keeping(Variant):
        def __init__(self, retention: RetentionOf) -> None:
            super().__init__(lambda channel: function(retention(channel)))

    return Keeping


def telling(function: Callable[[Any, list[Record], int], Any]) -> type[Variant]:
    """Return a backend that tells by this function, which is given a listener, records and a position."""

    class Between:
        def __init__(self, listener: Any) -> None:
            self.listener = listener

        def on_records(self, records: Sequence[Record], position: int) -> None:
            function(self.listener, list(records), position)

    class Telling(Variant):
        def start(self, listener: Any) -> None:
            super().start(Between(listener))  # type: ignore[arg-type]

    return Telling


def changed(draft: Draft, **fields: Any) -> Draft:
    return draft._replace(**fields)


class Unstartable(Variant):
    def start(self, listener: object) -> None:
        raise OSError("no network")


class Misnamed(Variant):
    async def sync(self) -> int:
        self.epoch = "An Epoch"
        return await super().sync()


class Miscounting(Variant):
    async def sync(self) -> int:
        return await super().sync() + 1


class Silent(Variant):
    async def sync(self) -> int:
        await asyncio.sleep(60)
        return self.position


class Raising(Variant):
    async def state(self, channel: str) -> Sequence[Record]:
        raise KeyError(channel)


class Refusing(Variant):
    async def state(self, channel: str) -> Sequence[Record]:
        raise BackendError("memory", "not today")


class Copying(Variant):
    async def follow(self, channel: str) -> ChannelLog:
        log = await super().follow(channel)
        copy = ChannelLog(log.retention)
        for record in log.read(0, self.position, 10**9)[0]:
            copy.append(record)
        return copy


class Holed(Variant):
    async def follow(self, channel: str) -> ChannelLog:
        log = await super().follow(channel)
        if channel == "followed":
            records = log.read(0, self.position, 10**9)[0]
            log.clear(0)
            for record in records[:-1]:
                log.append(record)
        return log


class Listing(Variant):
    async def follow(self, channel: str) -> Any:
        return (await super().follow(channel)).state()


class Clinging(Variant):
    def unfollow(self, channel: str) -> None:
        pass


class Restless(Variant):
    def append(self, draft: Draft) -> Any:
        result = super().append(draft)
        assert self._listener is not None
        self._listener.on_epoch()
        return result


class Deferring(Variant):
    """Acknowledges later, but not when it is closed."""

    def append(self, draft: Draft) -> Any:
        if draft.channel == "closing":
            return asyncio.get_running_loop().create_future()
        return super().append(draft)


class Undying(Variant):
    async def close(self) -> None:
        pass


class Mute(Variant):
    async def read(self, channel: str, after: int, size: int) -> Page:
        return Page([], 0, False) if self._listener is None else await super().read(channel, after, size)


class Rude(Variant):
    async def sync(self) -> int:
        if self._listener is None:
            raise RuntimeError("closed")
        return await super().sync()


class Stateless(Variant):
    async def state(self, channel: str) -> Sequence[Record]:
        return []


class Overfull(Variant):
    async def state(self, channel: str) -> Sequence[Record]:
        return (await self.read(channel, 0, 10**9)).records


class Flooded(Variant):
    """Makes room for events without a key by dropping ones that have one."""

    async def state(self, channel: str) -> Sequence[Record]:
        log = self._logs.get(channel)
        return [] if log is not None and log._events.count > 4 else await super().state(channel)


class Hasty(Variant):
    """Takes every minute for two."""

    def __init__(self, retention: RetentionOf) -> None:
        def half(channel: str) -> Retention:
            kept = retention(channel)
            return Retention(kept.events, kept.bytes, kept.age and kept.age / 2 - 5, kept.keys)

        super().__init__(half)


class Forgetful(Variant):
    """Forgets channels without remembering that there was anything in them."""

    def page(self, page: Page, channel: str, after: int, size: int) -> Page:
        return page if page.records else page._replace(floor=0)


def twice(listener: Any, records: list[Record], position: int) -> None:
    listener.on_records(records, position)
    listener.on_records(records, position)


def _first(page: Page, channel: str, after: int, size: int) -> Page:
    return page if after < 100 else page._replace(records=page.records[1:])


def _always_everything(self: Any, draft: Draft) -> Any:
    self._followed.add(draft.channel)
    return MemoryBackend.append(self, draft)


def _folded(self: Any, draft: Draft) -> Draft:
    return changed(draft, channel="a" if draft.channel == "A" else draft.channel)


NO_RETENTION = Retention(None, None, None, None)

FAULTS: list[tuple[Any, str]] = [
    (lambda retention: MemoryBackend, "is not a Backend; return an instance of one"),
    (lambda retention: object(), "is not a Backend"),
    (Unstartable, r"raises in start\(\)"),
    (Misnamed, r"backend 'memory' has the epoch 'An Epoch' after sync\(\)"),
    (Miscounting, r"returns 1 from sync\(\), but its position is 0"),
    (Silent, r"has not answered sync\(\) within"),
    (Restless, r"calls on_epoch\(\) though nothing has been lost"),
    # appending and telling
    (appending(lambda self, draft: {}["x"]), "can't append Draft.*order.0"),
    (
        appending(lambda self, draft: MemoryBackend.append(self, draft) - 1),
        "with 0; positions are whole numbers from 1",
    ),
    (
        appending(lambda self, draft: MemoryBackend.append(self, draft) and 1),
        "gives position 1 to two events",
    ),
    (
        appending(lambda self, draft: 100 - MemoryBackend.append(self, draft)),
        "acknowledges position 99 before",
    ),
    (
        telling(lambda listener, records, position: None),
        "acknowledges position 1 before the listener is told",
    ),
    (
        telling(lambda listener, records, position: records and listener.on_records(records, position)),
        "acknowledges position 1 before the listener is told",
    ),
    (telling(twice), "tells position .* of 'frames' after it has told everything"),
    (
        telling(lambda listener, records, position: listener.on_records(records, position + 1)),
        "has the position 1 when it tells up to 2",
    ),
    (
        telling(lambda listener, records, position: listener.on_records([], position)),
        r"the listener: \[.*\] is missing",
    ),
    (appending(_always_everything), "tells position 1 of 'order.0', which nobody follows"),
    (
        altering(lambda self, draft: changed(draft, frame=draft.frame.replace(b"\0", b""))),
        "has come back as Record",
    ),
    (
        altering(lambda self, draft: changed(draft, frame=draft.frame.replace(b"\xe2\x80\xa8", b"\n"))),
        "has come back as",
    ),
    (
        altering(lambda self, draft: changed(draft, key=draft.key and draft.key.strip())),
        "has come back as|is missing",
    ),
    # following
    (Copying, "before it is in the channel's log; append it there first"),
    (Holed, r"the log from follow\(\) meanwhile: \[.*\] is missing"),
    (Listing, r"returns \[\] from follow\(\); return a ChannelLog"),
    (Clinging, "which nobody follows"),
    # reading
    (
        reading(lambda page, channel, after, size: page._replace(more=False)),
        r"read\(\) in pages of 1 bytes: .* is missing",
    ),
    (
        reading(lambda page, channel, after, size: page._replace(records=[], more=True)),
        "reads an empty page and says that there is more",
    ),
    (
        reading(lambda page, channel, after, size: page._replace(records=page.records[::-1])),
        "each once, and in order",
    ),
    (
        reading(lambda page, channel, after, size: page._replace(records=[*page.records, *page.records])),
        "each once, and in order",
    ),
    (reading(_first), "is missing|an empty page"),
    (reading(lambda page, channel, after, size: page._replace(floor=10**6)), "but nothing has been dropped"),
    (reading(lambda page, channel, after, size: page._replace(floor=0)), "but its floor is 0; raise it"),
    (
        type(
            "Greedy",
            (Variant,),
            {"read": lambda self, channel, after, size: MemoryBackend.read(self, channel, after, 10**9)},
        ),
        "bytes where 1 were asked for; stop at the first beyond",
    ),
    (
        type(
            "Deaf",
            (Variant,),
            {"read": lambda self, channel, after, size: MemoryBackend.read(self, channel, 0, size)},
        ),
        "where those after .* were asked for",
    ),
    # message ids
    (
        altering(lambda self, draft: draft._replace(message_id=None)),
        "a message id is appended once",
    ),
    (
        altering(lambda self, draft: draft._replace(channel="once") if draft.message_id else draft),
        "gives position .* to two events",
    ),
    # keys
    (
        altering(lambda self, draft: changed(draft, key=draft.key and f"{draft.key}{self.position}")),
        "where the first of two",
    ),
    (
        reading(
            lambda page, channel, after, size: page._replace(
                floor=page.records[0].position if channel == "keys" else page.floor
            )
        ),
        "it was not missed",
    ),
    (altering(lambda self, draft: changed(draft, key=draft.key or None)), "has come back as|is missing"),
    (
        altering(lambda self, draft: changed(draft, key=draft.key and draft.key.lower())),
        "has come back as|is missing",
    ),
    (Stateless, r"state\(\), which has the keys' latest only,: \[.*\] is missing"),
    (
        Overfull,
        r"state\(\), which has the keys' latest only,: \[\] is missing, and \[.*\] should not be there",
    ),
    (Raising, r"raises KeyError in state\(\); raise BackendError"),
    (Refusing, r"fails in state\(\): the memory log failed: not today"),
    # retention
    (
        keeping(lambda kept: NO_RETENTION),
        "keeps 60 events of 'limited.events', where more than 20 are beyond its limit",
    ),
    (
        keeping(lambda kept: Retention(kept.events, None, kept.age, kept.keys)),
        "of 'limited.bytes', where more than",
    ),
    (
        keeping(lambda kept: Retention(kept.events, kept.bytes, kept.age, None)),
        "keeps 20 events of 'limited.keys'",
    ),
    (
        keeping(lambda kept: Retention(kept.events and 5, kept.bytes, kept.age, kept.keys)),
        "keeps 5 events of 'limited.events', where 10",
    ),
    (
        keeping(lambda kept: Retention(kept.events, kept.bytes, None, kept.keys)),
        "still has an event of 'limited.age'",
    ),
    (Flooded, r"state\(\), after many events without a key,: \[.*\] is missing"),
    (Hasty, "drops an event that is younger"),
    (Forgetful, "has dropped position|has forgotten 'limited.age'"),
    # names
    (altering(_folded), r"read\('a'\), which is a channel of its own,"),
    (
        altering(lambda self, draft: changed(draft, channel=draft.channel[:199])),
        "has come back as|is missing",
    ),
    # the end
    (Deferring, "leaves appends without an answer"),
    (Undying, "tells something after it has been closed"),
    (Mute, r"returns .* from read\(\) when it has been closed; raise BackendError"),
    (Rude, r"raises RuntimeError in sync\(\) when it has been closed; raise BackendError"),
]


@pytest.mark.parametrize(("make", "sentence"), FAULTS)
async def test_a_fault_is_told_in_a_sentence(make: Any, sentence: str) -> None:
    clock = Clock()
    if isinstance(make, type):
        make.clock = clock  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match=sentence):
        await check_backend(make, advance=clock.advance, timeout=0.3)


async def test_what_the_backend_raised_is_the_cause() -> None:
    with pytest.raises(AssertionError) as caught:
        await check_backend(Raising, timeout=1)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_good_backend_passes_without_a_clock() -> None:
    await check_backend(MemoryBackend)


async def test_a_store_that_is_empty_again_needs_a_new_epoch(tmp_path: Path) -> None:
    def make(retention: RetentionOf) -> Backend:
        backend = MemoryBackend(retention)
        backend.epoch = "same"
        return backend

    with pytest.raises(AssertionError, match=r"is at 0 when it is opened again, where .*; begin a new epoch"):
        await check_backend(make)


async def test_a_durable_backend_keeps_its_epoch() -> None:
    with pytest.raises(
        AssertionError, match=r"has another epoch when it is opened again; keep it with the events"
    ):
        await check_backend(MemoryBackend, durable=True)


async def test_two_processes_have_one_epoch(tmp_path: Path) -> None:
    class Lonely(MemoryBackend):
        shared = True

    with pytest.raises(AssertionError, match=r"has not heard of position|and another process has"):
        await check_backend(Lonely, shared=True)


async def test_what_is_shared_says_so() -> None:
    with pytest.raises(AssertionError, match="says that it is not shared; set shared = True"):
        await check_backend(MemoryBackend, shared=True)


async def test_sync_tells_what_others_had_acknowledged(tmp_path: Path) -> None:
    class Late(SQLiteBackend):
        late = True

        async def sync(self) -> int:
            await super().sync()
            if self.late:
                self.late = False
                self.position -= 1
            return self.position

    kinds = iter([SQLiteBackend, Late])

    def make(retention: RetentionOf) -> Backend:
        return next(kinds)(str(tmp_path / "log.db"), retention)

    with pytest.raises(AssertionError, match=r"has not heard of position .* when sync\(\) returns"):
        await check_backend(make, shared=True)


async def test_what_others_append_is_told(tmp_path: Path) -> None:
    class Selfish(SQLiteBackend):
        own = 0

        def on_news(self, records: Sequence[Record], position: int) -> None:
            super().on_news(
                [record for record in records if b"shared" not in record.channel.encode()], position
            )

    with pytest.raises(AssertionError, match=r"the listener, of two processes that append,: .* is missing"):
        await check_backend(lambda retention: Selfish(str(tmp_path / "log.db"), retention), shared=True)


async def test_a_message_id_counts_in_all_processes(tmp_path: Path) -> None:
    class Own(SQLiteBackend):
        def append(self, draft: Draft) -> Any:
            mine = draft.message_id and f"{draft.message_id} {id(self)}"
            return super().append(draft._replace(message_id=mine))

    with pytest.raises(AssertionError, match=r"what another process has appended at .*, by its message id"):
        await check_backend(lambda retention: Own(str(tmp_path / "log.db"), retention), shared=True)


async def test_a_store_that_gives_out_positions_again_is_found(tmp_path: Path) -> None:
    made: list[SQLiteBackend] = []

    class Again(SQLiteBackend):
        def append(self, draft: Draft) -> Any:
            if len(made) > 1 and self is made[1]:

                async def low() -> int:
                    await super(Again, self).append(draft)
                    return 1

                return asyncio.ensure_future(low())
            return super().append(draft)

    def make(retention: RetentionOf) -> Backend:
        made.append(Again(str(tmp_path / "log.db"), retention))
        return made[-1]

    with pytest.raises(AssertionError, match=r"gives position 1 to two events|or one before it again"):
        await check_backend(make, durable=True)
