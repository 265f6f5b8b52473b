"""For the tests of those who use or extend this package. Nothing here needs a test runner.

`listen` connects to an event stream and never hangs; `Relay` is a bad network on the way to it, and `Clock`
sets the event loop's clock forward. `tornado_sse.testing.pytest` has them as fixtures.

`check_serializer` and `check_backend` check that an implementation keeps its contract: they return, or raise
AssertionError with a sentence that says what to do.
"""

from tornado_sse.testing.backends import check_backend
from tornado_sse.testing.clock import Clock
from tornado_sse.testing.listener import Listener, listen
from tornado_sse.testing.relay import Relay
from tornado_sse.testing.serializers import check_serializer

__all__ = ["Clock", "Listener", "Relay", "check_backend", "check_serializer", "listen"]
