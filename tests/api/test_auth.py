import re
from typing import Any

import pytest
from fastapi import FastAPI, Response

from perdure.api.auth import CallerDep
from perdure.api.not_built import NOT_BUILT
from perdure.api.operations import Operation
from perdure.api.reply import reply
from perdure.api.routes import ROUTES
from perdure.domain.ids import DEFAULT_TENANT
from tests.api.in_process import BEARER, JSON, PASSWORD, application, call

HOST = ("host", "localhost:8283")
CURL = (HOST,)
ID = "123e4567-e89b-42d3-8456-426614174000"
APPLICATION = application()


async def who(caller: CallerDep) -> Response:
    return reply({"tenant": caller.tenant, "generation": caller.generation.value, "project": caller.project})


async def take(caller: CallerDep, body: dict[str, Any]) -> Response:
    return reply(body)


def guarded(**changed: Any) -> FastAPI:
    return application(
        Operation("GET", "/v1/who", who, "Who is calling"), Operation("POST", "/v1/who", take, "Take"), **changed
    )


@pytest.mark.parametrize(
    "shown",
    [
        BEARER,
        ("authorization", f"bearer {PASSWORD}"),
        ("Authorization", f"BEARER  {PASSWORD}"),
        ("x-bare-password", f"password {PASSWORD}"),
        ("X-BARE-PASSWORD", f"password {PASSWORD}"),
    ],
)
def test_whoever_shows_the_password_comes_in(shown: tuple[str, str]) -> None:
    assert call(guarded(), "GET", "/v1/who", [HOST, shown]).status == 200


@pytest.mark.parametrize(
    "shown",
    [
        (),
        (("authorization", "Bearer wrong"),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer"),),
        (("authorization", PASSWORD),),
        (("authorization", f"Basic {PASSWORD}"),),
        (("authorization", f"Bearer {PASSWORD} "[:-2]),),
        (("authorization", f"Bearer {PASSWORD}x"),),
        (("authorization", f"Bearer {PASSWORD.upper()}"),),
        (("authorization", f"password {PASSWORD}"),),
        (("x-bare-password", PASSWORD),),
        (("x-bare-password", f"Bearer {PASSWORD}"),),
        (("cookie", f"authorization=Bearer {PASSWORD}"),),
        (("user_id", "user-00000000-0000-4000-8000-000000000000"),),
        (("x-project", "default"), ("x-forwarded-for", "127.0.0.1"), ("x-forwarded-user", "admin")),
    ],
)
def test_nobody_else_does(shown: tuple[tuple[str, str], ...]) -> None:
    refused = call(guarded(), "GET", "/v1/who", [HOST, *shown])
    assert (refused.status, refused.json) == (401, {"detail": "Unauthorized"})
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("query", ["password", "token", "api_key", "authorization", "key"])
def test_a_password_in_the_query_is_never_taken(query: str) -> None:
    assert call(guarded(), "GET", f"/v1/who?{query}=Bearer+correct%20horse", CURL).status == 401


def test_either_of_two_credentials_may_be_the_right_one() -> None:
    wrong = ("authorization", "Bearer stale")
    right = ("x-bare-password", f"password {PASSWORD}")
    assert call(guarded(), "GET", "/v1/who", [HOST, wrong, right]).status == 200


def test_a_password_beyond_ascii_is_compared_as_the_bytes_sent() -> None:
    app = guarded(password="pässwörd…")
    sent = "Bearer pässwörd…".encode().decode("latin-1")
    assert call(app, "GET", "/v1/who", [HOST, ("authorization", sent)]).status == 200
    assert call(app, "GET", "/v1/who", [HOST, ("authorization", "Bearer pässw\xf6rd?")]).status == 401


def test_headers_choose_no_tenant() -> None:
    claims = [("user_id", "not even an id"), ("x-project", "theirs"), ("x-organization", "org-1")]
    came = call(guarded(), "GET", "/v1/who", [HOST, BEARER, *claims])
    assert came.json == {"tenant": DEFAULT_TENANT, "generation": "1.x", "project": "theirs"}


def test_the_generation_is_read_from_the_sdks_headers() -> None:
    came = call(guarded(), "GET", "/v1/who", [HOST, BEARER, ("X-Fern-SDK-Version", "0.1.324")])
    assert came.json["generation"] == "0.1.x"


def test_health_and_docs_are_open() -> None:
    app = guarded()
    assert call(app, "GET", "/v1/health/", CURL).json == {"version": "9.9", "status": "ok"}
    assert call(app, "GET", "/docs", CURL).status == 200
    assert call(app, "GET", "/openapi.json", CURL).status == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/unheard-of"),
        ("GET", "/latest/unheard-of"),
        ("GET", "/v1"),
        ("GET", "/v1/"),
        ("GET", "/v1/projects"),
        ("DELETE", "/v1/who"),
        ("BREW", "/v1/who"),
        ("POST", "/v1/health/"),
        ("GET", "/v1/agents/no-such-id"),
    ],
)
def test_strangers_learn_nothing_of_what_is_there(method: str, target: str) -> None:
    assert call(guarded(), method, target, CURL).status == 401


@pytest.mark.parametrize("row", [row for row in ROUTES if not row.is_open], ids=lambda row: f"{row.method} {row.path}")
def test_no_operation_is_left_unguarded(row: Operation) -> None:
    target = re.sub(r"\{(\w+?)_id\}", rf"\1-{ID}", row.path).replace("{block_label}", "human")
    assert call(APPLICATION, row.method, target, CURL).status == 401


def test_only_health_is_open() -> None:
    assert [row.path for row in (*ROUTES, *NOT_BUILT) if row.is_open] == [
        "/v1/health/", "/v1/health/ready",
    ]  # fmt: skip


def test_a_strangers_body_is_not_even_read() -> None:
    for body in (b'{"right": 1}', b"{broken", b"[" * 500):
        assert call(guarded(), "POST", "/v1/who", [HOST, JSON], body).status == 401


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8283", "LOCALHOST:1", "127.0.0.1:8283", "127.9.9.9", "[::1]", "[::1]:8283"]
)
def test_without_a_password_this_machine_is_answered(host: str) -> None:
    app = guarded(password=None, loopback_only=True)
    assert call(app, "GET", "/v1/who", [("host", host)]).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8283",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:8283@evil.example",
        "localhost/v1/health?",
        "localhost#evil",
        "localhost:8283, evil.example",
        "localhost ",
        "10.0.0.1",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "",
    ],
)
def test_without_a_password_no_other_name_reaches_the_server(host: str) -> None:
    app = guarded(password=None, loopback_only=True)
    refused = call(app, "GET", "/v1/who", [("host", host)])
    assert refused.status == 421
    assert "password" in refused.json["detail"]


def test_without_a_password_a_request_has_one_host() -> None:
    app = guarded(password=None, loopback_only=True)
    assert call(app, "GET", "/v1/who", []).status == 421
    assert call(app, "GET", "/v1/who", [HOST, ("host", "evil.example")]).status == 421
    assert call(app, "GET", "/v1/who", [HOST, ("x-forwarded-host", "evil.example")]).status == 200


@pytest.mark.parametrize("host", ["evil.example", "x/v1/health?", "x/v1/health/#", "localhost\\@x", ""])
def test_with_a_password_the_host_decides_nothing(host: str) -> None:
    app = guarded()
    assert call(app, "GET", "/v1/who", [("host", host)]).status == 401
    assert call(app, "GET", "/v1/who", [("host", host), BEARER]).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://10.0.0.1"])
def test_without_a_password_a_page_of_another_site_may_not_call(origin: str) -> None:
    app = guarded(password=None, loopback_only=True)
    refused = call(app, "POST", "/v1/who", [HOST, JSON, ("origin", origin)], b"{}")
    assert refused.status == 403
    assert "origin" in refused.json["detail"]


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8283", "https://ui.example"])
def test_a_page_of_this_machine_or_an_allowed_one_may(origin: str) -> None:
    app = guarded(password=None, loopback_only=True, allowed_origins=("https://ui.example",))
    assert call(app, "POST", "/v1/who", [HOST, JSON, ("origin", origin)], b"{}").status == 200


def test_behind_a_proxy_without_a_password_a_page_may_call_its_own_server() -> None:
    app = guarded(password=None, loopback_only=False)
    own = [("host", "agents.example"), JSON, ("origin", "https://agents.example")]
    assert call(app, "POST", "/v1/who", own, b"{}").status == 200
    other = [("host", "agents.example"), JSON, ("origin", "https://evil.example")]
    assert call(app, "POST", "/v1/who", other, b"{}").status == 403


def test_browsers_are_invited_only_where_origins_are_allowed() -> None:
    asked = [HOST, ("origin", "https://ui.example"), ("access-control-request-method", "POST")]
    closed = call(guarded(), "OPTIONS", "/v1/who", asked)
    assert "access-control-allow-origin" not in closed.headers
    opened = call(guarded(allowed_origins=("https://ui.example",)), "OPTIONS", "/v1/who", asked)
    assert opened.status == 200
    assert opened.headers["access-control-allow-origin"] == "https://ui.example"
    foreign = [HOST, ("origin", "https://evil.example"), ("access-control-request-method", "POST")]
    refused = call(guarded(allowed_origins=("https://ui.example",)), "OPTIONS", "/v1/who", foreign)
    assert "access-control-allow-origin" not in refused.headers
