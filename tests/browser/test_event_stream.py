"""The browser module reads: what the standard says, what EventSource does, and what it does beyond that."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tornado.web

from tests.browser.stage import STREAM, Answer, Stage, stream
from tornado_sse import Broker, Event, EventParser, SSEHandler, encode, encode_event, get_serializer

pytestmark = pytest.mark.browser

TABLE = json.loads((Path(__file__).parents[1] / "conformance/wpt_format_cases.json").read_text("utf-8"))
CASES = {case["id"]: case for case in TABLE["cases"]}
README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PARSING = [case for case in TABLE["cases"] if case["kind"] == "parse"]
HTTP = {case["id"]: case for case in TABLE["cases"] if case["kind"] == "http"}

# Opens a stream and notes what it says; the page's `seen` has the notes.
OPEN = """async ([url, options, types]) => {
  const { EventStream } = await import("/tornado_sse/tornado_sse.js");
  globalThis.stream?.close();
  globalThis.seen = [];
  globalThis.stream = new EventStream(url, options);
  for (const type of ["message", ...types]) {
    stream.addEventListener(type, (event) => seen.push([event.type, event.data, event.lastEventId]));
  }
  stream.onopen = () => seen.push(["open"]);
  stream.onerror = ({ reason, status, delay }) => seen.push(["error", reason, status, delay !== null]);
}"""


@pytest.fixture(scope="module")
def stage() -> Stage:
    """What the server answers."""
    return Stage()


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Any], stage: Stage) -> Any:
    """The server."""
    return start_server(stage.application())


@pytest.fixture(scope="module")
def page(browser: Any, server: Any) -> Iterator[Any]:
    """A blank page; what it complains of is what the tests provoke."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    yield page
    context.close()


@pytest.fixture
def read(page: Any) -> Iterator[Callable[..., Any]]:
    """``read(url, until, *types, **options)`` opens a stream and returns the notes when a condition holds."""

    def read(url: str, until: str, *types: str, **options: Any) -> list[Any]:
        page.evaluate(OPEN, [url, options, types])
        page.wait_for_function(f"() => {until}")
        return list(page.evaluate("seen"))

    yield read
    page.evaluate("globalThis.stream?.close()")


CLOSED = "stream.state === 'closed'"


def has(*note: Any) -> str:
    """Return the condition that something has been noted."""
    wanted = json.dumps(json.dumps(note, separators=(",", ":")))
    return f"seen.some((note) => JSON.stringify(note.slice(0, {len(note)})) === {wanted})"


# Parsing

FEED = """async ([stream, cuts]) => {
  const { Parser } = await import("/tornado_sse/parser.js");
  const bytes = Uint8Array.from(atob(stream), (character) => character.charCodeAt(0));
  return cuts.map((places) => {
    const parser = new Parser();
    const events = [];
    [0, ...places].forEach((place, i) => {
      for (const block of parser.feed(bytes.subarray(place, places[i] ?? bytes.length))) {
        if (block.data !== null) events.push({ event: block.type, data: block.data, id: block.lastEventId });
      }
    });
    return JSON.stringify({ events, retry_ms: parser.retry, last_event_id: parser.lastEventId });
  });
}"""


@pytest.mark.parametrize("case", PARSING, ids=[case["id"] for case in PARSING])
def test_the_events_are_these_however_the_stream_is_cut(case: dict[str, Any], page: Any) -> None:
    data = base64.b64decode(case["input_b64"])
    cuts: list[list[int]] = [[], list(range(len(data))), *([place] for place in range(len(data)))]
    for outcome in page.evaluate(FEED, [case["input_b64"], cuts]):
        assert json.loads(outcome) == case["expect"]


def test_the_events_are_these_over_http(page: Any, stage: Stage, read: Callable[..., Any]) -> None:
    for case in PARSING:
        url = stage.set(stream(base64.b64decode(case["input_b64"])), Answer(204))
        seen = read(url, has("error", "ended"), "test", "msg", "event")
        types = {event["event"] for event in case["expect"]["events"]}
        assert types <= {"message", "test", "msg", "event"}, types
        events = [{"event": note[0], "data": note[1], "id": note[2]} for note in seen if len(note) == 3]
        assert events == case["expect"]["events"], case["id"]


FUZZ = """async ([url, types, stream, cuts]) => {
  const { EventStream } = await import("/tornado_sse/tornado_sse.js");
  const { Parser } = await import("/tornado_sse/parser.js");
  const note = ({ type, data, lastEventId }) => [type, data, lastEventId];
  const listen = (source) => new Promise((resolve) => {
    const seen = [];
    for (const type of types) source.addEventListener(type, (event) => seen.push(note(event)));
    source.addEventListener("fuzz-end", (event) => (source.close(), resolve([...seen, note(event)])));
  });
  const bytes = Uint8Array.from(atob(stream), (character) => character.charCodeAt(0));
  const parser = new Parser();
  const fed = [0, ...cuts].flatMap((place, i) => parser.feed(bytes.subarray(place, cuts[i] ?? bytes.length)));
  const known = new Set([...types, "fuzz-end"]);
  const events = fed.filter(({ data, type }) => data !== null && known.has(type));
  const both = await Promise.all([listen(new EventSource(url)), listen(new EventStream(url))]);
  return [...both, events.map(note)].map((each) => JSON.stringify(each));
}"""

PIECES = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"),
    *(
        b"data",
        b"data:",
        b"data: ",
        b"event: ",
        b"event:a",
        b"event",
        b"id: ",
        b"id:",
        b"id",
        b"retry: 7",
        b"codec: x",
    ),
    *(
        b":",
        b": comment",
        b" ",
        b"\t",
        b"x",
        b"a",
        b"data: x\n\n",
        b"id: 7\ndata: y\r\r",
        b"id: 8\n\n",
        b"\0",
    ),
    *(
        "é…🐟\u2028\x85".encode(),
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xe2\x80",
        b"\xf0\x9f",
        b"\xc3",
        b"\xed\xa0\x80",
    ),
]
TYPES = ["message", "a", "aa", " a", "ax", "x", "\ufffd", "é…🐟\u2028\x85"]


def test_chromiums_eventsource_sees_the_same(page: Any, stage: Stage) -> None:
    rng = random.Random(9206)
    for _ in range(250):
        body = b"".join(rng.choices(PIECES, k=rng.randrange(1, 60))) + b"\n\nevent: fuzz-end\ndata\n\n"
        if rng.random() < 0.2:
            body = b"\xef\xbb\xbf" + body
        cuts = sorted(rng.choices(range(len(body)), k=rng.randrange(12)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        url = stage.set(stream(*pieces, hold=True))
        outcome = page.evaluate(FUZZ, [url, TYPES, base64.b64encode(body).decode(), cuts])
        native, module, fed = map(json.loads, outcome)
        ours = [
            [e.type, e.data, e.id or ""] for e in EventParser().feed(body) if e.type in (*TYPES, "fuzz-end")
        ]
        assert native == module == fed == ours, body


# HTTP, as the standard has it


@pytest.mark.parametrize("name", [name for name in HTTP if name.startswith(("mime", "status"))])
def test_the_answer_decides(name: str, stage: Stage, read: Callable[..., Any]) -> None:
    given, expected = HTTP[name]["given"], HTTP[name]["expect"]
    answer = Answer(given["status"], {"Content-Type": given["content_type"]}, [b"data: it\n\n"], hold=True)
    url = stage.set(answer)
    if expected["outcome"] == "open":
        assert read(url, has("message"))[0] == ["open"]
        return
    reason = "type" if given["status"] == 200 else "status"
    assert read(url, CLOSED) == [["error", reason, given["status"], False]]
    assert len(stage.asked[url]) == 1


@pytest.mark.parametrize("name", [name for name in HTTP if name.startswith("redirect-3")])
def test_redirects_are_followed(name: str, stage: Stage, read: Callable[..., Any]) -> None:
    target = stage.set(stream(b"data: there\n\n", hold=True))
    url = stage.set(Answer(HTTP[name]["given"]["status"], {"Location": target}))
    assert read(url, has("message")) == [["open"], ["message", "there", ""]]


def test_the_request(stage: Stage, read: Callable[..., Any]) -> None:
    url = stage.set(stream(b"retry: 1\ndata: one\n\n"), stream(b"data: two\n\n", hold=True))
    read(url, has("message", "two"))
    for headers in stage.asked[url]:
        assert headers["Accept"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache"
        assert "Last-Event-ID" not in headers


def test_it_reconnects_after_the_end(stage: Stage, read: Callable[..., Any]) -> None:
    url = stage.set(stream(b"retry: 2\n"), stream(b"data: ok\n\n"), stream(b"data: data\n\n", hold=True))
    assert read(url, has("message", "data")) == [
        ["open"],
        ["error", "ended", 200, True],
        ["open"],
        ["message", "ok", ""],
        ["error", "ended", 200, True],
        ["open"],
        ["message", "data", ""],
    ]


def test_204_stops_it(stage: Stage, read: Callable[..., Any]) -> None:
    url = stage.set(stream(b"retry: 2\ndata: opened\n\n"), stream(b"data: reconnected\n\n"), Answer(204))
    seen = read(url, CLOSED)
    assert [note[1] for note in seen if note[0] == "message"] == ["opened", "reconnected"]
    assert seen[-1] == ["error", "status", 204, False]
    assert len(stage.asked[url]) == 3


def test_the_id_is_sent_back(stage: Stage, read: Callable[..., Any]) -> None:
    url = stage.set(
        stream("id: …\nretry: 20\ndata: hello\n\n".encode()),
        stream(b"data: again\n\n"),
        stream(b"data: and again\n\n", hold=True),
    )
    assert read(url, has("message", "and again"))[-1] == ["message", "and again", "…"]
    sent = [headers.get("Last-Event-ID") for headers in stage.asked[url]]
    expected = CASES["id-sent-back"]["expect"]["last_event_id_header_hex"]
    assert [each and each.encode("latin-1").hex() for each in sent] == expected


# Other origins


@pytest.fixture(scope="module")
def abroad(start_server: Callable[..., Any], stage: Stage) -> str:
    """The same, of another origin."""
    return str(start_server(stage.application()).url)


def test_another_origin_that_allows_it(stage: Stage, server: Any, abroad: str, page: Any, read: Any) -> None:
    cors = {"Access-Control-Allow-Origin": server.url, "Access-Control-Allow-Credentials": "true"}
    first = Answer(200, STREAM | cors | {"Set-Cookie": "c=COOKIE"}, [b"retry: 1\ndata: one\n\n"])
    for credentials, cookie in ((True, "c=COOKIE"), (False, None)):
        path = stage.set(first, Answer(200, STREAM | cors, [b"data: two\n\n"], hold=True))
        url = stage.set(Answer(302, {"Location": abroad + path, **cors}))
        read(url, has("message", "two"), withCredentials=credentials)
        assert page.evaluate("stream.withCredentials") is credentials
        # An id goes in the query, where a header would be asked for first.
        page.evaluate(
            OPEN, [f"{abroad}{path}?a=%20", {"withCredentials": credentials, "lastEventId": "é 7"}, []]
        )
        page.wait_for_function(f"() => {has('message', 'two')}")
        assert stage.queries[path][-1] == "a=%20&last_event_id=%C3%A9%207"
        assert "Last-Event-ID" not in stage.asked[path][-1]
        assert stage.asked[path][-1].get("Cookie") == cookie
        assert (
            page.evaluate(
                "async () => { stream.close(); const { lastEventId } = stream; return lastEventId; }"
            )
            == "é 7"
        )


def test_an_event_tells_the_origin_that_sent_it(stage: Stage, server: Any, abroad: str, page: Any) -> None:
    cors = {"Access-Control-Allow-Origin": server.url}
    path = stage.set(Answer(200, STREAM | cors, [b"data: it\n\n"], hold=True))
    url = stage.set(Answer(302, {"Location": abroad + path}))
    origin = page.evaluate(
        """async (url) => {
          const { EventStream } = await import("/tornado_sse/tornado_sse.js");
          const stream = new EventStream(url);
          const event = await new Promise((resolve) => (stream.onmessage = resolve));
          stream.close();
          return event.origin;
        }""",
        url,
    )
    assert origin == abroad


@pytest.mark.parametrize("allowed", HTTP["cors-bad"]["given"]["acao"])
def test_another_origin_that_forbids_it_is_as_good_as_unreachable(
    allowed: str | None, stage: Stage, abroad: str, read: Callable[..., Any]
) -> None:
    # A browser doesn't tell a page that it was CORS, so it is tried again; nothing is ever read.
    headers = {} if allowed is None else {"Access-Control-Allow-Origin": allowed}
    path = stage.set(Answer(200, STREAM | headers, [b"data: secret\n\n"], hold=True))
    assert read(abroad + path, "seen.length > 0") == [["error", "network", None, True]]


# Beyond EventSource


def test_headers_and_a_body_go_with_every_request(stage: Stage, page: Any) -> None:
    url = stage.set(stream(b"retry: 1\nid: 1\ndata: one\n\n"), stream(b"data: two\n\n", hold=True))
    page.evaluate(
        """async (url) => {
          const { EventStream } = await import("/tornado_sse/tornado_sse.js");
          let token = 0;
          const headers = async () => ({ Authorization: `Bearer ${++token}` });
          const stream = new EventStream(url, { method: "POST", headers, body: '{"prompt":"é"}' });
          await new Promise((resolve) => (stream.onmessage = ({ data }) => data === "two" && resolve()));
          stream.close();
        }""",
        url,
    )
    assert [headers["Authorization"] for headers in stage.asked[url]] == ["Bearer 1", "Bearer 2"]
    assert stage.bodies[url] == ['{"prompt":"é"}'.encode()] * 2
    assert [headers.get("Last-Event-ID") for headers in stage.asked[url]] == [None, "1"]


def test_payloads_are_decoded_when_they_are_asked_for(stage: Stage, page: Any) -> None:
    values = {"json": {"a": 1}, "text": "<b>text</b>", "binary": b"\0\xff", "msgpack": [1.5, None]}
    events = []
    for name, value in values.items():
        serializer = get_serializer(name)
        events.append(encode_event(Event(encode(serializer, value), name, codec=serializer.codec)))
    events += [b"event: broken\ncodec: json\ndata: {\n\n", b"event: unknown\ncodec: pickle\ndata: x\n\n"]
    url = stage.set(stream(*events, hold=True))
    assert page.evaluate(
        """async ([url, types]) => {
          const { EventStream, DecodeError } = await import("/tornado_sse/tornado_sse.js");
          const stream = new EventStream(url);
          const found = [];
          await new Promise((resolve) => {
            for (const type of types) {
              stream.addEventListener(type, (event) => {
                try {
                  const { payload } = event;
                  const value = payload instanceof Uint8Array ? [...payload] : payload;
                  found.push([event.codec, value, payload === event.payload]);
                } catch (error) {
                  found.push([event.codec, error instanceof DecodeError, event.data]);
                }
                if (found.length === types.length) resolve();
              });
            }
          });
          stream.close();
          return found;
        }""",
        [url, [*values, "broken", "unknown"]],
    ) == [
        ["json", {"a": 1}, True],
        [None, "<b>text</b>", True],
        ["binary", [0, 255], True],
        ["msgpack", [1.5, None], True],
        ["json", True, "{"],
        ["pickle", True, "x"],
    ]


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_later_is_asked_later(status: int, stage: Stage, read: Callable[..., Any]) -> None:
    later = Answer(status, {"Retry-After": "0"})
    url = stage.set(stream(b"retry: 1\nid: 4\n\n"), later, later, stream(b"data: there\n\n", hold=True))
    seen = read(url, has("message"))
    assert seen[2:] == [["error", "status", status, True]] * 2 + [["open"], ["message", "there", "4"]]
    assert [headers["Last-Event-ID"] for headers in stage.asked[url][1:]] == ["4"] * 3


def test_retry_after_is_kept_to(stage: Stage, page: Any, read: Callable[..., Any]) -> None:
    url = stage.set(Answer(503, {"Retry-After": "3600"}), stream(b"data: too soon\n\n", hold=True))
    read(url, has("error", "status", 503, True))
    page.evaluate("dispatchEvent(new Event('online'))")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")
    assert len(stage.asked[url]) == 1


@pytest.mark.parametrize("status", [200, 401, 404, 502, 503])
def test_one_that_persists_tries_again_whatever_the_answer(status: int, stage: Stage, read: Any) -> None:
    page = Answer(status, {"Content-Type": "text/html"}, [b"<h1>not now</h1>"])
    url = stage.set(stream(b"retry: 1\nid: 1\n\n"), page, stream(b"data: there\n\n", hold=True))
    reason = "type" if status == 200 else "status"
    seen = read(url, has("message"), persist=True)
    assert ["error", reason, status, True] in seen
    assert stage.asked[url][-1]["Last-Event-ID"] == "1"


def test_one_that_persists_ends_with_a_204(stage: Stage, read: Callable[..., Any]) -> None:
    url = stage.set(Answer(204))
    assert read(url, CLOSED, persist=True) == [["error", "status", 204, False]]


def test_a_connection_that_breaks_off_resumes(stage: Stage, server: Any, page: Any, read: Any) -> None:
    broken = stream(b"retry: 1\nid: 5\ndata: five\n\nid: 6\ndata: half", hold=True)
    url = stage.set(broken, stream(b"id: 6\ndata: six\n\n", hold=True))
    read(url, has("message", "five"))
    server.run(stage.cut)
    page.wait_for_function(f"() => {has('message', 'six')}")
    seen = page.evaluate("seen")
    assert [note for note in seen if note[0] == "message"] == [
        ["message", "five", "5"],
        ["message", "six", "6"],
    ]
    assert ["error", "network", 200, True] in seen
    assert stage.asked[url][1]["Last-Event-ID"] == "5"


def test_waits_double_and_are_reset_by_events(stage: Stage, page: Any) -> None:
    absurd = stream(b"retry: 100000000000000000000\n")
    url = stage.set(absurd, stream(b"retry: 10\n"), stream(b""), stream(b"data: x\n\n"))
    delays = page.evaluate(
        """async (url) => {
          const { EventStream } = await import("/tornado_sse/tornado_sse.js");
          const stream = new EventStream(url);
          const delays = [];
          await new Promise((resolve) => {
            stream.onerror = ({ delay }) => {
              if (delays.push(delay) === 5) return resolve();
              dispatchEvent(new Event("online")); // don't wait
            };
          });
          stream.close();
          return delays;
        }""",
        url,
    )
    # The second answer asks for less; the fourth has an event.
    for delay, least in zip(delays, (3_600_000, 100, 200, 10, 10), strict=True):
        assert least <= delay <= 1.25 * least, delays


def test_silence_is_noticed(stage: Stage, read: Callable[..., Any]) -> None:
    url = stage.set(stream(b"retry: 1\nid: 1\ndata: one\n\n", hold=True), stream(b"data: two\n\n", hold=True))
    seen = read(url, has("message", "two"), idleTimeout=100)
    assert ["error", "idle", 200, True] in seen
    assert stage.asked[url][1]["Last-Event-ID"] == "1"


def test_an_event_that_is_too_large_ends_it(stage: Stage, read: Callable[..., Any]) -> None:
    for body in (b"data: " + b"x" * 2000, b"data: x\n" * 600, b"x" * 2000):
        url = stage.set(stream(b"data: before\n\n" + body, hold=True))
        seen = read(url, CLOSED, maxEventSize=1000)
        assert seen == [["open"], ["message", "before", ""], ["error", "size", 200, False]]


def test_a_listener_may_close_or_pause_it(stage: Stage, page: Any) -> None:
    url = stage.set(
        stream(b"id: 1\ndata: one\n\nid: 2\ndata: two\n\nid: 3\ndata: three\n\n", hold=True),
        stream(b"id: 2\ndata: two\n\n", hold=True),
    )
    assert page.evaluate(
        """async (url) => {
          const { EventStream } = await import("/tornado_sse/tornado_sse.js");
          const stream = new EventStream(url);
          const seen = [];
          stream.onstatechange = () => seen.push(stream.state);
          await new Promise((resolve) => {
            stream.onmessage = ({ data }) => {
              seen.push(data, stream.lastEventId);
              if (data === "one") stream.pause(), setTimeout(() => stream.resume());
              if (data === "two") stream.close(), resolve();
            };
          });
          stream.resume();
          return [...seen, stream.readyState];
        }""",
        url,
    ) == ["open", "one", "1", "paused", "connecting", "open", "two", "2", "closed", 2]
    assert stage.asked[url][1]["Last-Event-ID"] == "1"


@pytest.mark.parametrize(
    "given",
    [
        "'http://['",
        "'/x', { body: 'with GET' }",
        "'/x', { method: 'a b' }",
        "'/x', { headers: { 'a b': 'c' } }",
        "'/x', { lastEventId: 'a\\nb' }",
        "'/x', { method: 'POST', body: new ReadableStream() }",
        "'/x', { shared: true, headers: () => ({}) }",
        "'/x', { shared: true, method: 'POST', body: new Blob() }",
    ],
)
def test_what_can_not_be_asked_for_is_an_error_at_once(given: str, page: Any) -> None:
    assert page.evaluate(
        f"""async () => {{
          const {{ EventStream }} = await import("/tornado_sse/tornado_sse.js");
          try {{
            new EventStream({given});
          }} catch (error) {{
            return error instanceof TypeError;
          }}
        }}"""
    )


def test_handlers_are_as_an_eventsources(stage: Stage, server: Any, page: Any) -> None:
    url = stage.set(stream(b"data: it\n\n", hold=True))
    assert page.evaluate(
        """async (url) => {
          const { EventStream } = await import("/tornado_sse/tornado_sse.js");
          const stream = new EventStream(url);
          const before = [stream.onmessage, stream.readyState, EventStream.CONNECTING, stream.url];
          stream.onmessage = () => "replaced";
          const [self, event] = await new Promise((resolve) => {
            stream.onmessage = function (event) { resolve([this, event]); };
          });
          stream.onmessage = null;
          const after = [self === stream, event instanceof MessageEvent, event.target === stream];
          stream.close();
          return [...before, ...after, stream.onmessage];
        }""",
        url,
    ) == [None, 0, 0, server.url + url, True, True, True, None]


def test_the_example_in_the_readme_runs(
    start_server: Callable[..., Any], stage: Stage, open_page: Any
) -> None:
    routes, script = re.findall(
        r"```(?:python|js)\n([^`]*ModuleHandler[^`]*|[^`]*EventStream[^`]*)```", README
    )

    class Prices(SSEHandler):
        async def open(self, symbol: str) -> None:
            await self.subscribe(symbol, start="earliest")

    class Page(tornado.web.RequestHandler):
        def get(self) -> None:
            self.write(
                '<!doctype html><link rel="icon" href="data:,"><script>'
                "const told = []; const show = (...values) => told.push(...values);"
                "const refetch = show; const tell = show;"
                f"</script><script type=module>{script}</script>"
            )

    broker = Broker()
    names = {"tornado": tornado, "Prices": Prices, "broker": broker}
    exec(compile(routes, "README.md", "exec"), names)
    names["app"].add_handlers(".*", [("/", Page)])  # type: ignore[attr-defined]
    server = start_server(names["app"])

    async def publish() -> None:
        await broker.publish("AAPL", {"price": 1.5}, event="quote", serializer="msgpack")

    server.run(publish)
    page = open_page()
    page.goto(server.url)
    page.wait_for_function("() => told.length > 0")
    assert page.evaluate("told") == [{"price": 1.5}]
