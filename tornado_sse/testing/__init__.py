"""For the tests of those who use or extend this package. Nothing here needs a test runner.

`check_serializer` and `check_backend` check that an implementation keeps its contract: they return, or raise
AssertionError with a sentence that says what to do.
"""

from tornado_sse.testing.backends import check_backend
from tornado_sse.testing.serializers import check_serializer

__all__ = ["check_backend", "check_serializer"]
