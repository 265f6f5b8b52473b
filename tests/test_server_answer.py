from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import HTTPError

from tests.serving import Client, body_of
from tests.support import Logs
from tornado_sse import BackendError
from tornado_sse.server.answer import Answer, bearer_token, log_request


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("", None),
        ("Bearerabc", None),
    ],
)
def test_a_token_is_what_follows_bearer(header: str, token: str | None) -> None:
    request = HTTPServerRequest(
        start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "a", "Authorization": header}),
        connection=Mock(context=Mock(remote_ip="::1")),
    )
    assert bearer_token(request) == token


class Failing(Answer):
    """Fails as it is told."""

    def get(self) -> None:
        how = self.get_query_argument("how")
        if how == "refused":
            raise HTTPError(409, "%s is taken", "it")
        if how == "away":
            raise HTTPError(503) from BackendError("test", "/var/secret")
        if how == "away-with-words":
            raise HTTPError(503, "/var/secret") from BackendError("test", "/var/secret")
        raise RuntimeError("/var/secret")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("refused", 409, "it is taken"),
        ("away", 503, "Service Unavailable"),
        ("away-with-words", 503, "Service Unavailable"),
        ("crash", 500, "Internal Server Error"),
    ],
)
async def test_an_error_is_json_without_what_is_not_for_clients(
    serve: Callable[..., None],
    http_server: object,
    http_port: int,
    logs: Logs,
    how: str,
    status: int,
    error: str,
) -> None:
    serve(Failing, log_function=log_request)
    client = Client(http_port)
    it = await client.get(f"/failing?how={how}&access_token=secret-token")
    body: dict[str, Any] = await body_of(it)
    assert (it.status, body) == (status, {"error": error})
    assert "secret-token" not in "".join(record.getMessage() for record in logs.records)
    if status >= 500:
        logs.claim(r"GET /failing\?how,access_token|500 GET|503 GET", count=2)
    client.close()
