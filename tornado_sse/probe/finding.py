"""What a probe finds, and what it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Report", "Severity", "Thresholds", "advice", "error", "warning"]


class Severity(StrEnum):
    """How much it matters."""

    #: Clients that follow the standard lose events, or get none.
    ERROR = "error"
    #: It goes wrong in some clients, behind some proxies, or on a bad day.
    WARNING = "warning"
    #: It is right, and could be safer.
    ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    :arg str code: its name, for programs: letters and hyphens.
    :arg str problem: what is wrong, in a sentence. It may quote what the server has sent.
    :arg str remedy: how to mend it, in a sentence or two.
    """

    code: str
    severity: Severity
    problem: str
    remedy: str


def error(code: str, problem: str, remedy: str) -> Finding:
    """Return a finding of this severity."""
    return Finding(code, Severity.ERROR, problem, remedy)


def warning(code: str, problem: str, remedy: str) -> Finding:
    """Return a finding of this severity."""
    return Finding(code, Severity.WARNING, problem, remedy)


def advice(code: str, problem: str, remedy: str) -> Finding:
    """Return a finding of this severity."""
    return Finding(code, Severity.ADVICE, problem, remedy)


@dataclass(slots=True)
class Report:
    """What is known of a server after a probe.

    :arg str url: what was asked for, without user and password.
    :arg facts: what was seen, right or wrong: from a subject to a phrase.
    :arg findings: what is wrong, in the order in which it was looked at.
    """

    url: str
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def faulty(self) -> bool:
        """Whether anything is wrong. Advice is for what is not."""
        return any(finding.severity is not Severity.ADVICE for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on a time is too long, in seconds.

    :arg float slow: for the head of an answer.
    :arg float late: for the rest of an event after its beginning, and for an event on one connection after
        the same one on another.
    :arg float silence: without a byte on an open stream. Common proxies and load balancers cut at 30 to 60.
    :arg float replay: for what a client has missed, when it resumes.
    :arg float brief: for an answer that is not to be a stream.
    :arg float grace: how long to wait for what may be about to come, as a body where there should be none.
    """

    slow: float = 1.0
    late: float = 1.0
    silence: float = 29.0
    replay: float = 3.0
    brief: float = 5.0
    grace: float = 0.5
