"""A log in a cluster of NATS servers, whose leaders change and whose servers die."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.nats_server import Server, admin
from tests.opened import UNLIMITED, Opened, held
from tests.support import DEADLINE, SECOND, reserved_address, until
from tornado_sse.backends.base import RetentionOf
from tornado_sse.backends.nats import NATSBackend
from tornado_sse.backends.nats_address import Address
from tornado_sse.errors import BackendError
from tornado_sse.record import Draft
from tornado_sse.testing import check_backend

pytestmark = pytest.mark.gen_test(timeout=90)

#: For how many seconds a backend tries: longer than a cluster takes to find another leader.
TIMEOUT = 10.0 * SECOND


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Run three servers."""
    folder = tmp_path_factory.mktemp("cluster")
    with contextlib.ExitStack() as stack:
        addresses = ["{}:{}".format(*stack.enter_context(reserved_address())) for _ in range(3)]
        routes = ", ".join(f"nats-route://{address}" for address in addresses)
        servers = []
        for i, address in enumerate(addresses):
            config = f'server_name: n{i}\ncluster {{ name: c, listen: "{address}", routes: [{routes}] }}\n'
            servers.append(stack.enter_context(Server(folder / str(i), config)))
        # None is well before there are two.
        starting = [threading.Thread(target=server.start) for server in servers]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        yield servers


def backend(servers: list[Server], first: int, stream: str, retention: RetentionOf) -> NATSBackend:
    """Return a backend that begins with one of the servers."""
    hosts = [(server.host, server.port) for server in servers]
    address = Address([*hosts[first:], *hosts[:first]])
    return NATSBackend(address, retention, stream=stream, replicas=3, timeout=TIMEOUT)


async def test_it_keeps_the_contract(cluster: list[Server]) -> None:
    made = 0

    def make(retention: RetentionOf) -> NATSBackend:
        nonlocal made
        made += 1
        return backend(cluster, made % 3, "contract", retention)

    await check_backend(make, durable=True, shared=True, timeout=2 * DEADLINE)


async def test_leaders_change_and_servers_die(cluster: list[Server]) -> None:
    those = [Opened(backend(cluster, i, "changes", lambda channel: UNLIMITED)) for i in range(3)]
    logs = [await each.backend.follow("a") for each in those]
    appended: dict[int, bytes] = {}
    changing = True

    async def publish(name: str, one: Opened[NATSBackend]) -> None:
        number = 0
        while changing:
            drafts = [Draft("a", b"data: %s %d\n\n" % (name.encode(), number + i)) for i in range(5)]
            number += 5
            last = 0
            for draft, future in [(draft, one.backend.append(draft)) for draft in drafts]:
                try:
                    position = await future
                except BackendError:
                    continue  # it may be in the log, or not; what is acknowledged is
                assert position > last, "the order of the calls is the order in the log"
                last = position
                appended[position] = draft.frame
            await asyncio.sleep(0.002)

    publishing = [asyncio.ensure_future(publish(f"p{i}", one)) for i, one in enumerate(those)]
    loop = asyncio.get_running_loop()

    async def go_on() -> None:
        count = len(appended)
        await until(lambda: len(appended) > count + 500, 3 * DEADLINE)

    await go_on()
    for _ in range(2):
        await admin(cluster[0], "STREAM.LEADER.STEPDOWN.changes")
        await go_on()
    cluster[1].kill()
    await go_on()
    await loop.run_in_executor(None, cluster[1].start)
    await go_on()
    changing = False
    await asyncio.gather(*publishing)
    found = {record.position: record.frame for record in await those[0].all()}
    for one, log in zip(those, logs, strict=True):
        await one.backend.sync()
        told = one.ear.positions
        assert told == sorted({*told}), "each once, and in order"
        # A leader that changes may lose what it was about to tell. That is told of as a gap, behind which the
        # log in memory begins: who follows reads what is missing from the stream.
        untold = {*found} - {*told}
        assert {*told} <= {*found}
        assert (bool(one.ear.gaps), one.ear.epochs) == (bool(untold), 0)
        assert max(untold, default=0) <= log.start
        assert await one.positions() == [*found], "what was told or not, each can read"
        assert held(log) == [*found][-len(log) :]
        await one.backend.close()
    texts = [frame.partition(b"data: ")[2] for frame in found.values()]
    assert len({*texts}) == len(texts), "appended twice"
    assert all(found[position].endswith(frame) for position, frame in appended.items())
