from __future__ import annotations

import subprocess
import sys

from tornado_sse import testing


def test_the_checks_are_all_there_and_documented() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
        if name.startswith("check_"):
            assert f"`{name}`" in (testing.__doc__ or "")
            assert ":raises AssertionError:" in (getattr(testing, name).__doc__ or "")


def test_no_test_runner_is_needed() -> None:
    code = "import sys, tornado_sse.testing; print([*{'pytest', 'unittest', 'hypothesis'} & {*sys.modules}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['unittest']")  # asyncio or tornado may have asked for the last
