"""A linter for servers of event streams, whoever has written them. ``tornado-sse probe`` shows what it finds.

The modules, each importing only from those above it:

- ``finding``: what is found, and what is reported
- ``transcript``: a stream as it came, line by line
- ``visit``: one request, and what comes back when
- ``head``: the head of the answer
- ``grammar``: the lines
- ``timing``: when they came
- ``resuming``: what who comes back gets
- ``manners``: how other requests are answered
- ``prober``: what is asked for, and for how long
"""

from __future__ import annotations

from tornado_sse.probe.finding import Finding, Report, Severity, Thresholds
from tornado_sse.probe.prober import probe

__all__ = ["Finding", "Report", "Severity", "Thresholds", "probe"]
