"""The scripts, run by hand on a real server."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from tests.valkey import Server
from tornado_sse.backends.redis_log import append_args
from tornado_sse.backends.redis_scripts import SCRIPTS, SKIPPED
from tornado_sse.log import Retention
from tornado_sse.record import Draft

_prefixes = itertools.count(1)

Run = Callable[..., Any]


@pytest.fixture
def root() -> str:
    return f"{{script-{next(_prefixes)}}}"


@pytest.fixture
def run(redis_server: Server, root: str) -> Run:
    """Return what runs a script in the name of a server process."""

    def run(name: str, *args: object, by: str = "server") -> Any:
        return redis_server.ask("EVAL", SCRIPTS[name].source, 1, root, by, *args)

    return run


def batch(*drafts: Draft, epoch: str = "e", number: int = 1, nonce: str = "n") -> Sequence[object]:
    return append_args(
        drafts, lambda channel: Retention(), epoch=epoch, topics="{t}/", nonce=nonce, number=number, ahead=0
    )


DRAFT = Draft("a", b"data: x\n\n")


def test_a_server_knows_a_script_by_the_same_name(redis_server: Server) -> None:
    for script in SCRIPTS.values():
        assert redis_server.ask("SCRIPT", "LOAD", script.source).decode() == script.digest


def test_each_says_to_the_server_what_it_does() -> None:
    flags = {name: re.match("#!lua ?(.*)", script.source) for name, script in SCRIPTS.items()}
    assert {name: match and match[1] for name, match in flags.items()} == {
        "begin": "flags=allow-oom",
        "renew": "flags=allow-oom",
        "mark": "flags=allow-oom",
        "append": "",
        "sweep": "flags=allow-oom",
        "page": "flags=no-writes",
        "tail": "flags=no-writes",
        "behind": "flags=no-writes",
    }


def test_the_first_who_begins_makes_the_epoch(run: Run) -> None:
    assert run("begin", "e", 0) == [b"e", 0]
    assert run("begin", "f", 0) == [b"e", 0]


def test_another_server_leaves_a_hole_once(run: Run) -> None:
    run("begin", "e", 0)
    run("append", *batch(DRAFT))
    assert run("begin", "f", 0, by="another") == [b"e", SKIPPED + 1, b"1"]
    assert run("begin", "f", 0, by="another") == [b"e", SKIPPED + 1, b"1"]
    assert run("append", *batch(DRAFT, number=2), by="another") == f"{SKIPPED + 2} {SKIPPED + 2}".encode()
    assert run("begin", "f", 0) == [b"e", 2 * SKIPPED + 2, b"1", str(SKIPPED + 2).encode()]


def test_holes_are_not_noted_for_ever(run: Run, redis_server: Server, root: str) -> None:
    run("begin", "e", 0)
    for number in range(1_005):
        found = run("begin", "e", 0, by=str(number))
    assert found[1] == 1_005 * SKIPPED < 2**53
    assert len(found) == 2 + 1_000
    assert redis_server.ask("ZCARD", f"{root}/lost") == 1_000


def test_the_epoch_is_renewed_once(run: Run) -> None:
    run("begin", "e", 0)
    assert run("renew", "e", "f") == [b"f", 0]
    assert run("renew", "e", "g") == [b"f", 0]


def test_a_batch_that_comes_again_gets_the_answer_it_got(run: Run) -> None:
    run("begin", "e", 0)
    assert run("append", *batch(DRAFT, DRAFT)) == b"2 1 2"
    assert run("append", *batch(DRAFT, nonce="another")) == b"3 3"
    assert run("append", *batch(DRAFT, DRAFT)) == b"2 1 2"
    assert run("append", *batch(DRAFT, number=2)) == b"4 4"


def test_a_batch_that_comes_too_late_is_refused(run: Run) -> None:
    run("begin", "e", 0)
    run("append", *batch(DRAFT, number=10))
    with pytest.raises(redis.ResponseError, match="LATE"):
        run("append", *batch(DRAFT, number=9))
    assert run("append", *batch(DRAFT, number=11)) == b"2 2"


def test_nothing_is_appended_to_another_log_or_by_another_server(run: Run) -> None:
    with pytest.raises(redis.ResponseError, match="ANEW"):
        run("append", *batch(DRAFT))
    run("begin", "e", 0)
    with pytest.raises(redis.ResponseError, match="ANEW"):
        run("append", *batch(DRAFT, epoch="f"))
    with pytest.raises(redis.ResponseError, match="ANEW"):
        run("append", *batch(DRAFT), by="another")
    for name in ("mark", "sweep", "page", "tail", "behind"):
        assert "ANEW there is no log" in SCRIPTS[name].source
    assert run("append", *batch(DRAFT)) == b"1 1"


def test_positions_are_exact_to_the_last(run: Run, redis_server: Server, root: str) -> None:
    run("begin", "e", 0)
    last = 2**53 - 10
    redis_server.ask("HSET", root, "position", last)
    keyed = DRAFT._replace(key="k")
    answer = run("append", *batch(DRAFT, keyed, DRAFT))
    assert answer == f"{last + 3} {last + 1} {last + 2} {last + 3}".encode()
    _, position, _, _, *found = run("page", "a", last, last + 3, 10**6)
    assert (position, found[::2]) == (last + 3, [last + 1, last + 2, last + 3])
    _, _, _, _, *found = run("tail", "a", last + 1, last + 1, 10**6, "", "")
    assert sorted(found[::2]) == [last + 2, last + 3]


def test_time_does_not_run_backwards(run: Run, redis_server: Server, root: str) -> None:
    run("begin", "e", 0)
    redis_server.ask("HSET", root, "time", 2 * 10**15)
    run("append", *batch(DRAFT))
    _, _, _, _, _, value = run("page", "a", 0, 1, 1)
    assert value == b"2000000000000000 - data: x\n\n"


def test_a_message_id_of_the_same_batch(run: Run) -> None:
    run("begin", "e", 0)
    draft = DRAFT._replace(message_id="m")
    assert run("append", *batch(draft, DRAFT, draft)) == b"2 1 2 1"


def test_pages_take_little_more_than_was_asked_for(run: Run, redis_server: Server) -> None:
    run("begin", "e", 0)
    run("append", *batch(*(Draft("a", b"data: %b\n\n" % (b"x" * 1_000)) for _ in range(500))))
    redis_server.ask("CONFIG", "RESETSTAT")
    page = run("page", "a", 0, 500, 20_000)
    assert (page[3], len(page[4::2])) == (1, 19)
    # 1 + 2 + 4 + 8 + 16 events are the first 31.
    assert redis_server.ask("INFO", "commandstats")["cmdstat_xrange"]["calls"] == 5
