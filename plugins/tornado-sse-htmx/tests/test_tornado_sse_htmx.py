import asyncio
import re
import textwrap
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tornado_sse_htmx
from tornado.template import DictLoader
from tornado_sse_htmx import STATIC_PATH, Fragment, HTMLSerializer, Renderer, out_of_band

from tornado_sse import Broker, SSEHandler
from tornado_sse.encoder import encode_event
from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.event import Event
from tornado_sse.serializers import Registry, encode
from tornado_sse.testing import check_serializer

serializer = HTMLSerializer()


class Built:
    def __html__(self) -> str:
        return "<p>€</p>"


def test_it_keeps_the_contract() -> None:
    check_serializer(
        serializer,
        [Fragment("<p>1</p>"), Fragment("<p>\n  €\u2028</p>\n"), Fragment("")],
        unserializable=["<p>1</p>", "text", None, 1, b"\xff", Fragment("\ud800"), Built],
        damaged=[b"\xff"],
    )


@pytest.mark.parametrize("payload", [Fragment("<p>€</p>"), "<p>€</p>".encode(), Built()])
def test_markup_is_written_as_it_is(payload: Any) -> None:
    data = encode(serializer, payload)
    assert (
        encode_event(Event(data, "price", codec=serializer.codec))
        == "event: price\ndata: <p>€</p>\n\n".encode()
    )


def test_text_is_refused_with_what_to_do() -> None:
    with pytest.raises(EncodeError, match="Fragment"):
        encode(serializer, "<b>")
    with pytest.raises(EncodeError, match="a dict is no markup"):
        encode(serializer, {})
    with pytest.raises(DecodeError):
        serializer.loads(b"\xff")


def test_the_entry_point_brings_it_without_its_being_imported_first() -> None:
    [entry] = entry_points(group="tornado_sse.serializers", name="html")
    assert entry.value == "tornado_sse_htmx:HTMLSerializer"
    registry = Registry()
    [info] = [info for info in registry.list_serializers() if info.name == "html"]
    assert (info.source, info.problem) == ("tornado-sse-htmx[html]", "")
    assert isinstance(registry.get_serializer("html"), HTMLSerializer)


def test_a_template_escapes_what_is_put_into_it() -> None:
    render = Renderer(DictLoader({"a.html": "<p>{{ site }}: {{ text }}</p>"}), site="A&B")
    rendered = render("a.html", text="<script>")
    assert isinstance(rendered, Fragment)
    assert rendered == "<p>A&amp;B: &lt;script&gt;</p>"
    assert render("a.html", site="C", text="") == "<p>C: </p>"


def test_templates_are_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "base.html").write_text("<i>{% block inside %}{% end %}</i>")
    (tmp_path / "a.html").write_text('{% extends "base.html" %}{% block inside %}{{ n }}{% end %}')
    assert Renderer(tmp_path)("a.html", n=1) == "<i>1</i>"
    with pytest.raises(FileNotFoundError):
        Renderer(str(tmp_path))("b.html")


def test_out_of_band() -> None:
    assert out_of_band(Fragment("<b>1</b>"), "#count") == '<div hx-swap-oob="innerHTML:#count"><b>1</b></div>'
    row = out_of_band(b"<tr></tr>", 'table[title="<"] tbody', swap="beforeend", tag="tbody")
    assert row == '<tbody hx-swap-oob="beforeend:table[title=&quot;&lt;&quot;] tbody"><tr></tr></tbody>'


def test_fragments_are_joined_and_text_is_no_fragment() -> None:
    both = out_of_band(b"1", "#a") + Fragment("<p>€</p>".encode())
    assert encode(serializer, both) == '<div hx-swap-oob="innerHTML:#a">1</div><p>€</p>'
    with pytest.raises(EncodeError):
        encode(serializer, Fragment("<p>") + "<script>")


@pytest.mark.parametrize(
    "options",
    [
        {"target": ""},
        {"target": "a:hover"},
        {"target": "#a", "swap": "outerHTML"},
        {"target": "#a", "swap": "true"},
        {"target": "#a", "tag": "b c"},
        {"target": "#a", "tag": ""},
    ],
)
def test_out_of_band_takes_what_both_versions_of_htmx_understand(options: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        out_of_band(Fragment("<b>1</b>"), **options)


def test_out_of_band_takes_no_text() -> None:
    with pytest.raises(EncodeError):
        out_of_band("<b>1</b>", "#a")  # type: ignore[arg-type]


def test_the_script_is_where_it_says() -> None:
    assert "last_event_id" in (STATIC_PATH / "tornado_sse_htmx.js").read_text()


README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_the_readme_s_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("templates").mkdir()
    for name in ("price", "count", "row"):
        Path("templates", f"{name}.html").write_text("<p>1</p>")
    prices, _, elsewhere, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    async def run() -> None:
        async with Broker() as broker:
            quote = SimpleNamespace(symbol="AAPL")
            names: dict[str, Any] = {"broker": broker, "quote": quote, **vars(tornado_sse_htmx)}
            names["SSEHandler"] = SSEHandler
            exec(prices, names)
            await names["on_quote"](quote)
            exec("async def run():\n" + textwrap.indent(elsewhere, "    "), names)
            await names["run"]()
            assert broker.stats.position == 2

    asyncio.run(run())
