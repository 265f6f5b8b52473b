from __future__ import annotations

import pytest

from tests.scripted import STREAM, Scripted, redirect, then_wait
from tests.support import until, within
from tornado_sse import RedirectError, SettingError
from tornado_sse.asking import Asker
from tornado_sse.exchange import Limits


def asker(url: str, method: str = "GET", **options: object) -> Asker:
    given = {"headers": None, "body": None, "max_redirects": 3, "limits": Limits(), "ssl_options": None}
    given |= {"compression": False, "resolver": None, **options}
    return Asker(url, method, **given)  # type: ignore[arg-type]


@pytest.mark.gen_test
async def test_redirects_are_followed_and_their_sockets_closed(io_loop: object) -> None:
    async with Scripted(redirect("/a"), redirect("b?c"), then_wait(STREAM)).running() as server:
        it = asker(server.url)
        exchange, answer = await within(it.ask("7"))
        assert (answer.status, exchange.request.target) == (200, "/b?c")
        assert [asked.headers["Last-Event-Id"] for asked in server.asked] == ["7", "7", "7"]
        await until(lambda: server.open == 1)
        it.close()
        await until(lambda: not server.open)


@pytest.mark.gen_test
async def test_too_many_are_not(io_loop: object) -> None:
    async with Scripted(redirect("/a")).running() as server:
        with pytest.raises(RedirectError, match="redirect 4 in a row"):
            await within(asker(server.url).ask(""))
        await until(lambda: not server.open)


@pytest.mark.gen_test
async def test_a_redirect_to_nowhere_is_an_answer(io_loop: object) -> None:
    async with Scripted(b"HTTP/1.1 302 Found\r\n\r\n").running() as server:
        _, answer = await within(asker(server.url).ask(""))
        assert answer.problem == "answered 302 Found"


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [("method", "GE T", {}), ("method", "CONNECT", {}), ("body", "GET", {"body": ""}),
     ("max_redirects", "GET", {"max_redirects": -1}), ("headers", "GET", {"headers": {"a b": ""}})],
)  # fmt: skip
def test_what_makes_no_sense(name: str, method: str, options: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=name):
        asker("http://a/", method, **options)
