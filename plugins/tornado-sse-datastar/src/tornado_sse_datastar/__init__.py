"""Datastar's server side for Tornado.

Datastar (https://data-star.dev) keeps a page's state on the server: it sends HTML and signals as events, and
the script in the page puts them where they belong. The modules, in reading order:

===========  ======================================================================================
`.events`    what can be sent: `patch_elements`, `patch_signals`, `execute_script`, `redirect`
`.signals`   what the page sends: `read_signals`
`.handler`   `DatastarHandler`, which does both; `publish` and `write` for channels and streams
===========  ======================================================================================

An event is a `tornado_sse.Event`, so it also is what ``snapshot()`` may return.
"""

from tornado_sse_datastar.events import (
    execute_script,
    patch_elements,
    patch_signals,
    redirect,
    remove_elements,
)
from tornado_sse_datastar.handler import DatastarHandler, publish, write
from tornado_sse_datastar.signals import read_signals

__all__ = [
    "DatastarHandler",
    "execute_script",
    "patch_elements",
    "patch_signals",
    "publish",
    "read_signals",
    "redirect",
    "remove_elements",
    "write",
]
