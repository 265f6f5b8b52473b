from __future__ import annotations

import json

from tornado_sse.probe.finding import Finding, Report, Severity, advice, error, warning


def test_advice_makes_no_server_faulty() -> None:
    report = Report("http://a/")
    assert not report.faulty
    report.findings.append(advice("a", "b", "c"))
    assert not report.faulty
    for finding in (warning("a", "b", "c"), error("a", "b", "c")):
        assert Report("http://a/", {}, [finding]).faulty


def test_a_report_is_json() -> None:
    report = Report("http://a/", {"retry": "1 ms"}, [Finding("code", Severity.ERROR, "what", "how")])
    finding = {"code": "code", "severity": "error", "problem": "what", "remedy": "how"}
    assert json.loads(json.dumps(report.as_dict())) == {
        "url": "http://a/",
        "facts": {"retry": "1 ms"},
        "findings": [finding],
    }
