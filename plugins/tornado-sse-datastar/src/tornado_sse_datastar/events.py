"""What a Datastar page understands, as events.

There are two types of event. Their data is lines of ``name value``: options, then the HTML or the JSON,
each of its lines with the name before it. An option that has its default is left out.

Source: Datastar's "SDK specification" (``sdk/ADR.md`` in its repository), of version 1.0. Where that leaves a
mistake to the page, which can only log it on its console, it is an error here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args
from urllib.parse import urlsplit

from tornado.escape import xhtml_escape

from tornado_sse import Event, InvalidEventError, encode, get_serializer
from tornado_sse.event import check_line

__all__ = [
    "HTML",
    "Mode",
    "Namespace",
    "execute_script",
    "patch_elements",
    "patch_signals",
    "redirect",
    "remove_elements",
]

#: What is done with the elements; see `patch_elements`.
Mode: TypeAlias = Literal["outer", "inner", "replace", "prepend", "append", "before", "after", "remove"]

#: What elements outside of any parent are parsed as.
Namespace: TypeAlias = Literal["html", "svg", "mathml"]


class _HTMLProvider(Protocol):
    def __html__(self) -> str: ...


#: Markup: a str, what ``render_string()`` returns, or anything with ``__html__``.
HTML: TypeAlias = "str | bytes | _HTMLProvider"

_ELEMENTS: Final = "datastar-patch-elements"
_SIGNALS: Final = "datastar-patch-signals"

# The elements' own ids can say where they go for these two only.
_NEEDS_NO_SELECTOR: Final = ("outer", "replace")

# To a reader of HTML the first is the end of the code, and the last moves it (HTML, section 4.12.1.3). The
# others make Datastar take the element for a document.
_IS_NO_CODE: Final = re.compile(r"</(?:script|html|head|body)|<!--", re.IGNORECASE).search

_IS_ATTRIBUTE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*").fullmatch

# Browsers drop tabs and newlines wherever they are in a URL and blanks before it, so "java\nscript:" is a
# scheme.
_HIDES_A_SCHEME: Final = re.compile(r"[\x00-\x20\x7f\\]").search


def patch_elements(
    elements: HTML | None = None,
    *,
    selector: str | None = None,
    mode: Mode = "outer",
    namespace: Namespace = "html",
    use_view_transition: bool = False,
    view_transition_selector: str | None = None,
) -> Event:
    """Return an event that puts elements into the page.

    :arg elements: whole elements as HTML. It is markup, not text: escape what others have written, as a
        template does. None with the mode ``"remove"`` only.
    :arg str selector: where, in CSS. Without it, each element takes the place of the one that has its id.
    :arg str mode: ``"outer"`` morphs the target into the element and ``"inner"`` its content, keeping focus,
        scroll positions and listeners where they can be kept; ``"replace"`` does not. ``"prepend"`` and
        ``"append"`` add within the target, ``"before"`` and ``"after"`` beside it; ``"remove"`` removes it.
    :arg str namespace: ``"svg"`` or ``"mathml"`` for elements that go inside of such.
    :arg bool use_view_transition: animate the change by the View Transitions API, where there is one.
    :arg str view_transition_selector: what of the page takes part in it. Newer than version 1.0.1, which
        ignores it.

    :raises InvalidEventError: for what the page could do nothing with.
    """
    _check_choice("mode", mode, Mode)
    _check_choice("namespace", namespace, Namespace)
    lines: list[str] = []
    if selector is not None:
        lines.append(f"selector {_one_line('selector', selector)}")
    elif mode not in _NEEDS_NO_SELECTOR:
        raise InvalidEventError("selector", selector, f"must say where, for the mode {mode!r}")
    if mode != "outer":
        lines.append(f"mode {mode}")
    if namespace != "html":
        lines.append(f"namespace {namespace}")
    if use_view_transition:
        lines.append("useViewTransition true")
    if view_transition_selector is not None:
        value = _one_line("view_transition_selector", view_transition_selector)
        lines.append(f"viewTransitionSelector {value}")
    if elements is not None:
        markup = _markup(elements)
        if not markup.strip():
            raise InvalidEventError("elements", markup, "must be at least one element")
        lines += _each_line("elements", markup)
    elif mode != "remove":
        raise InvalidEventError("elements", elements, f"must be HTML, for the mode {mode!r}")
    return Event("\n".join(lines), _ELEMENTS)


def remove_elements(selector: str, *, use_view_transition: bool = False) -> Event:
    """Return an event that removes from the page all that a CSS selector matches.

    :raises InvalidEventError: if the selector is empty or more than one line.
    """
    return patch_elements(selector=selector, mode="remove", use_view_transition=use_view_transition)


def patch_signals(signals: Any, *, only_if_missing: bool = False) -> Event:
    """Return an event that changes the page's signals, as a JSON merge patch (RFC 7386).

    :arg signals: a mapping, or whatever else the ``json`` serializer writes as an object: those named in it
        are set, None removes one, objects within it are merged. Or a str, which is such JSON already.
    :arg bool only_if_missing: set those only that the page does not have yet.

    :raises EncodeError: if it can't be JSON.
    :raises InvalidEventError: if it is JSON, but no object.
    """
    # The page evaluates as JavaScript what it can't parse as JSON, so a str is not taken on trust.
    if isinstance(signals, str):
        text, is_object = signals, isinstance(_parsed(signals), dict)
    else:
        text = encode(get_serializer("json"), signals)
        is_object = text.startswith("{")
    if not is_object:
        raise InvalidEventError("signals", signals, "must be an object of JSON")
    lines = ["onlyIfMissing true"] if only_if_missing else []
    return Event("\n".join([*lines, *_each_line("signals", text)]), _SIGNALS)


def execute_script(
    script: str, *, auto_remove: bool = True, attributes: Mapping[str, str] | None = None
) -> Event:
    """Return an event that runs JavaScript in the page, as an element that is appended to its body.

    A Content-Security-Policy without ``'unsafe-inline'`` forbids it; ``attributes`` may carry a nonce.

    :arg str script: the code. What others have written goes into it as JSON, with ``<`` as ``\\u003c``.
    :arg bool auto_remove: remove the element when the code has run.
    :arg attributes: more attributes of the element, by name.

    :raises InvalidEventError: if the code holds ``</script``, ``</html``, ``</head``, ``</body`` or ``<!--``,
        which would not be taken for code, or an attribute's name can't be one.
    """
    if not isinstance(script, str):
        raise InvalidEventError("script", script, "must be str")
    if found := _IS_NO_CODE(script):
        reason = f"must not hold {found[0]}; in a string of JavaScript, \\x3c is a <"
        raise InvalidEventError("script", script, reason)
    tag = '<script data-effect="el.remove()"' if auto_remove else "<script"
    for name, value in (attributes or {}).items():
        if not isinstance(name, str) or not _IS_ATTRIBUTE(name):
            raise InvalidEventError("attributes", name, "must have names that HTML allows")
        tag += f' {name}="{xhtml_escape(value)}"'
    return patch_elements(f"{tag}>{script}</script>", selector="body", mode="append")


def redirect(url: str) -> Event:
    """Return an event that takes the page to another address.

    It is done a moment later, so that events which came with it are seen to their end.

    :arg str url: relative, or of ``http`` or ``https``.

    :raises InvalidEventError: if it is another scheme's, ``javascript:`` above all, or holds what could
        hide one.
    """
    if not isinstance(url, str) or not url or _HIDES_A_SCHEME(url):
        raise InvalidEventError(
            "url", url, "must be an address without blanks, backslashes or control characters"
        )
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise InvalidEventError("url", url, f"is no address: {error}") from error
    if scheme not in ("", "http", "https"):
        raise InvalidEventError("url", url, "must be relative, or of http or https")
    location = json.dumps(url).replace("<", r"\u003c")
    return execute_script(f"setTimeout(() => window.location.href = {location})")


def _check_choice(field: str, value: object, choices: object) -> None:
    if value not in get_args(choices):
        raise InvalidEventError(field, value, f"must be one of {', '.join(get_args(choices))}")


def _one_line(field: str, value: str) -> str:
    check_line(field, value)
    if not value.strip():
        raise InvalidEventError(field, value, "must not be empty; None stands for none")
    return value


def _each_line(name: str, text: str) -> Iterator[str]:
    # What ends a line on the wire, and nothing else: a part without its name would be lost.
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        yield f"{name} {line}"


def _markup(elements: Any) -> str:
    if hasattr(elements, "__html__"):
        elements = elements.__html__()
    if isinstance(elements, bytes):
        try:
            return elements.decode()
        except UnicodeDecodeError as error:
            raise InvalidEventError("elements", elements, "must be UTF-8") from error
    if not isinstance(elements, str):
        raise InvalidEventError("elements", elements, "must be HTML: str, bytes, or with __html__")
    # A str of a kind of its own, as some libraries mark what is safe, is an ordinary one on the wire.
    return str(elements)


def _parsed(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError("signals", text, f"must be JSON ({error})") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
