from __future__ import annotations

import re
from pathlib import Path

import pytest
import tornado.web

import tornado_sse
from tests.support import Connect, Connection
from tornado_sse.browser import ModuleHandler

FILES = Path(tornado_sse.__file__).parent / "static"
ENTRY = "/files/tornado_sse.js"


@pytest.fixture
def app() -> tornado.web.Application:
    return tornado.web.Application([("/files/(.*)", ModuleHandler)])


async def get(connect: Connect, path: str, **options: object) -> Connection:
    """Return an answer with all of its body."""
    it = await (await connect()).request(path, headers=[("Connection", "close")], **options)  # type: ignore[arg-type]
    await it.rest()
    return it


async def versioned(connect: Connect, name: str = "tornado_sse.js") -> str:
    """Return the path of a file in this version."""
    it = await get(connect, f"/files/{name}")
    assert it.status == 302
    return f"/files/{it.headers['Location']}"


@pytest.mark.gen_test
async def test_the_address_that_never_changes_leads_to_one_that_is_kept_for_good(connect: Connect) -> None:
    it = await get(connect, ENTRY)
    assert it.headers["Cache-Control"] == "no-cache"
    assert re.fullmatch(r"[0-9a-f]{16}/tornado_sse\.js", it.headers["Location"])
    it = await get(connect, f"/files/{it.headers['Location']}")
    assert it.status == 200
    assert it.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert it.headers["X-Content-Type-Options"] == "nosniff"
    assert it.body == (FILES / "tornado_sse.js").read_bytes()


@pytest.mark.gen_test
async def test_all_files_are_there_and_scripts_are_javascript(connect: Connect) -> None:
    names = [file.name for file in FILES.iterdir()]
    assert {"tornado_sse.js", "tornado_sse.d.ts", "worker.js"} <= {*names}
    for name in names:
        it = await get(connect, await versioned(connect, name))
        assert it.body == (FILES / name).read_bytes()
        kind = "javascript" if name.endswith(".js") else "plain"
        assert it.headers["Content-Type"] == f"text/{kind}; charset=utf-8"


@pytest.mark.gen_test
async def test_what_a_script_imports_is_served_beside_it(connect: Connect) -> None:
    for script in FILES.glob("*.js"):
        text = script.read_text("utf-8")
        for name in re.findall(
            r"""(?:from |import |URL\()["']([^"']*)["']""", re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        ):
            assert name.startswith("./"), name
            assert (FILES / name).is_file(), name


@pytest.mark.gen_test
async def test_a_page_of_another_version_is_led_to_this_one(connect: Connect) -> None:
    for folder in ("0123456789abcdef", "a/b"):
        it = await get(connect, f"/files/{folder}/codec.js")
        assert it.status == 302
        assert it.headers["Cache-Control"] == "no-cache"
        up = "../" * len(folder.split("/"))
        assert re.fullmatch(re.escape(up) + r"[0-9a-f]{16}/codec\.js", it.headers["Location"])


@pytest.mark.gen_test
async def test_what_is_unchanged_is_not_sent_again(connect: Connect) -> None:
    path = await versioned(connect)
    etag = (await get(connect, path)).headers["Etag"]
    it = await (await connect()).request(path, headers=[("If-None-Match", etag), ("Connection", "close")])
    assert it.status == 304


@pytest.mark.gen_test
async def test_head_is_answered_without_a_body(connect: Connect) -> None:
    it = await get(connect, await versioned(connect), method="HEAD")
    assert it.status == 200
    assert it.body == b""
    assert (await get(connect, ENTRY, method="HEAD")).status == 302


@pytest.mark.parametrize(
    "path",
    ["", "nothing.js", "../browser.py", "%2e%2e/browser.py", "x/", "..%2fbrowser.py", "0/../../py.typed"],
)
@pytest.mark.gen_test
async def test_there_is_nothing_else(path: str, connect: Connect, logs: object) -> None:
    it = await get(connect, f"/files/{path}")
    assert it.status == 404
    logs.claim("404")  # type: ignore[attr-defined]


@pytest.mark.gen_test
async def test_headers_of_ones_own_go_with_every_answer(
    app: tornado.web.Application, connect: Connect
) -> None:
    class Module(ModuleHandler):
        def set_default_headers(self) -> None:
            self.set_header("Content-Security-Policy", "connect-src 'self'")

    app.add_handlers(".*", [("/mine/(.*)", Module)])
    it = await get(connect, "/mine/tornado_sse.js")
    assert it.headers["Content-Security-Policy"] == "connect-src 'self'"
    it = await get(connect, f"/mine/{it.headers['Location']}")
    assert it.headers["Content-Security-Policy"] == "connect-src 'self'"


def test_its_size() -> None:
    """What a page loads stays small: comments included, before compression."""
    assert sum(file.stat().st_size for file in FILES.glob("*.js")) < 60_000
