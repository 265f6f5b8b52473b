"""Fixtures for pytest. Ask for them in a ``conftest.py``::

    pytest_plugins = ["tornado_sse.testing.pytest"]

Nothing is loaded into a test run that has not asked for it. The fixtures are `sse_listen` and `sse_clock`,
and need no particular runner of coroutines: pytest-tornado, pytest-asyncio and anyio will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tornado_sse.testing.clock import Clock
from tornado_sse.testing.listener import Listener, listen

__all__ = ["sse_clock", "sse_listen"]


@pytest.fixture
def sse_listen() -> Iterator[Callable[..., Listener]]:
    """Return `tornado_sse.testing.listen`; what is still open at the end of the test is closed.

    So ``it = await sse_listen(app, "/clock")`` is all it takes.
    """
    made: list[Listener] = []

    def sse_listen(target: Any, path: str = "", **options: Any) -> Listener:
        made.append(listen(target, path, **options))
        return made[-1]

    yield sse_listen
    for it in made:
        it.drop()


@pytest.fixture
def sse_clock() -> Iterator[Clock]:
    """Return a `tornado_sse.testing.Clock` for the test's event loop, and restore it at the end."""
    with Clock() as clock:
        yield clock
