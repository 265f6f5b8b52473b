"""Fragments of HTML for htmx, from Tornado's templates.

htmx takes an event's data and puts it into the page as HTML. So there is one thing to get right: that what
is sent is HTML, and that no text of a stranger's has become HTML by mistake. Here markup has a type, and
text is refused:

- `HTMLSerializer`, by the name ``html``, writes markup and nothing else
- `Fragment` is markup, and `Renderer` makes it of a template anywhere, where ``render_string()`` is a
  handler's
- `out_of_band` sends a fragment to another element than the one that listens
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Self, overload

from tornado.escape import xhtml_escape
from tornado.template import BaseLoader, Loader

from tornado_sse.errors import DecodeError, EncodeError

__all__ = ["STATIC_PATH", "Fragment", "HTMLSerializer", "Renderer", "out_of_band"]

#: The folder of ``tornado_sse_htmx.js``, for a `tornado.web.StaticFileHandler`.
STATIC_PATH: Final = Path(__file__).parent / "static"

# Those that put the content of what is sent somewhere, in htmx 2 as in 4. "outerHTML" would put its wrapper
# there.
_SWAPS: Final = ("innerHTML", "beforebegin", "afterbegin", "beforeend", "afterend")

_IS_TAG: Final = re.compile(r"[a-z][a-z0-9]*").fullmatch


class Fragment(str):
    """Markup: text that is HTML already. Make one of what a template or you have written, never of what
    came in.

    A fragment and a fragment are a fragment; with text added it is text. In a template of Tornado's it needs
    ``{% raw %}``, others go by its ``__html__``.

    :arg markup: a str, or bytes that are UTF-8, as ``render_string()`` returns them.
    """

    __slots__ = ()

    def __new__(cls, markup: str | bytes = "") -> Self:
        """Make one."""
        return super().__new__(cls, markup.decode() if isinstance(markup, bytes) else markup)

    @overload
    def __add__(self, other: Fragment) -> Fragment: ...
    @overload
    def __add__(self, other: str) -> str: ...
    def __add__(self, other: str) -> str:
        """Return both as one."""
        joined = super().__add__(other)
        return Fragment(joined) if isinstance(other, Fragment) else joined

    def __html__(self) -> str:
        """Return the markup; the method by which many libraries tell it from text."""
        return str(self)


class HTMLSerializer:
    """Markup as it is: a `Fragment`, the bytes of ``render_string()``, or anything that has ``__html__``.

    It has no codec, for htmx reads the data as it is.
    """

    name = "html"
    codec = None

    def dumps(self, payload: Any) -> bytes:
        """Return the markup in UTF-8.

        :raises EncodeError: for text, which is not markup until it has been escaped or said to be; for what
            is neither; and for bytes that are not UTF-8.
        """
        if isinstance(payload, bytes):
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                raise EncodeError(self.name, str(error)) from error
            return payload
        if hasattr(payload, "__html__") and not isinstance(payload, type):
            return str(payload.__html__()).encode()
        if isinstance(payload, str):
            reason = (
                "it is text; render it by a template, or call it Fragment(…) if it is markup that you wrote"
            )
        else:
            reason = f"a {type(payload).__name__} is no markup; render it by a template"
        raise EncodeError(self.name, reason)

    def loads(self, data: bytes) -> Fragment:
        """Return the markup.

        :raises DecodeError: if the data is not UTF-8.
        """
        try:
            return Fragment(data.decode())
        except UnicodeDecodeError as error:
            raise DecodeError(self.name, str(error)) from error


class Renderer:
    """Renders templates where there is no handler, in what publishes to a channel for one::

        render = Renderer("templates")
        row = render("price.html", quote=quote)
        await broker.publish("prices", row, event=quote.symbol, serializer="html")

    :arg templates: the folder of the templates, or a `tornado.template.BaseLoader`. A template is compiled
        once.
    :arg names: what all of them may use, besides what Tornado gives every template (``escape``,
        ``url_escape``, ``json_encode``, ``datetime`` and so on). What only a request has, they don't.
    """

    def __init__(self, templates: str | Path | BaseLoader, **names: Any) -> None:
        self._loader = templates if isinstance(templates, BaseLoader) else Loader(str(templates))
        self._names = names

    def __call__(self, template: str, **names: Any) -> Fragment:
        """Return a template, rendered.

        :raises FileNotFoundError: if there is no such template.
        :raises tornado.template.ParseError: if it is none.
        :raises Exception: what the code in it raises.
        """
        return Fragment(self._loader.load(template).generate(**{**self._names, **names}))


def out_of_band(
    fragment: Fragment | bytes, target: str, *, swap: str = "innerHTML", tag: str = "div"
) -> Fragment:
    """Return a fragment for another element than the one that listens; several are joined by ``+``.

    It is written for htmx 2 and 4 alike. A template can do the same by itself: an element with an id and
    ``hx-swap-oob="true"`` takes the place of the one in the page that has its id.

    :arg fragment: the content.
    :arg str target: a CSS selector without a colon, which htmx would take for its own.
    :arg str swap: ``"innerHTML"`` makes it the target's content; ``"afterbegin"`` and ``"beforeend"`` add
        it there, ``"beforebegin"`` and ``"afterend"`` beside the target.
    :arg str tag: what it travels in, which does not arrive. HTML allows rows in ``"tbody"`` only, options in
        ``"select"``, and drops them elsewhere.

    :raises ValueError: if one of these can't be.
    """
    if swap not in _SWAPS:
        reason = '; hx-swap-oob="true" on the element itself replaces one' if swap == "outerHTML" else ""
        raise ValueError(f"swap must be one of {', '.join(_SWAPS)}, not {swap!r}{reason}")
    if not target.strip() or ":" in target:
        raise ValueError(f"target must be a selector without a colon, not {target!r}")
    if not _IS_TAG(tag):
        raise ValueError(f"tag must be an element's name, not {tag!r}")
    content = HTMLSerializer().dumps(fragment).decode()
    return Fragment(f'<{tag} hx-swap-oob="{swap}:{xhtml_escape(target)}">{content}</{tag}>')
