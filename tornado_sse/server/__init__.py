"""A server to run: channels over HTTP for those who write no Python. ``tornado-sse serve`` starts it.

The modules, each importing only from those above it:

- ``access``: who may publish and subscribe
- ``submission``: from a body to the events to publish
- ``answer``: answers and log lines in common
- ``reading``: GET, the stream
- ``posting``: POST
- ``health``: whether the server is of use
- ``options``: what the server is told
- ``application``: the routes
- ``process``: one process, from its start to its end
- ``supervisor``: several of them
"""

from __future__ import annotations

from tornado_sse.server.access import Access, Grant
from tornado_sse.server.application import make_application
from tornado_sse.server.options import ServerOptions
from tornado_sse.server.process import STOPPING, run
from tornado_sse.server.supervisor import Supervisor

__all__ = ["STOPPING", "Access", "Grant", "ServerOptions", "Supervisor", "make_application", "run"]
