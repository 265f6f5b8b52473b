from __future__ import annotations

import pytest

from tests.test_probe_head import answer
from tornado_sse.probe.manners import (
    ORIGIN,
    check_any_type,
    check_head_method,
    check_old_version,
    check_origin,
)

pytestmark = pytest.mark.gen_test


async def test_what_is_right_is_left_alone(io_loop: object) -> None:
    for check in (check_head_method, check_any_type, check_old_version, check_origin):
        assert [*check(answer())] == []
    assert [*check_head_method(answer(405, Content_Type="text/html"))] == []
    assert [*check_any_type(answer(503))] == []
    assert [*check_old_version(answer(426, Transfer_Encoding="chunked"))] == []


@pytest.mark.parametrize(
    ("allowed", "credentials", "vary", "codes"),
    [
        ("*", "", "", []),
        ("https://friend.example", "true", "Origin", []),
        (ORIGIN, "", "Accept, origin", []),
        (ORIGIN, "", "", ["cors-vary"]),
        (ORIGIN, "true", "Origin", ["cors-credentials"]),
        ("*", "true", "", ["cors-credentials"]),
    ],
)
async def test_other_origins(
    io_loop: object, allowed: str, credentials: str, vary: str, codes: list[str]
) -> None:
    fields = {"Access_Control_Allow_Origin": allowed, "Access_Control_Allow_Credentials": credentials}
    assert [finding.code for finding in check_origin(answer(**fields, Vary=vary))] == codes
