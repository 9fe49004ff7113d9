from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Response
from pydantic import BaseModel

from perdure.api.auth import CallerDep
from perdure.api.operations import Operation
from perdure.api.reply import reply
from perdure.domain.errors import Busy, Unavailable
from tests.api.in_process import BEARER, JSON, Unforeseen, application, call

NPM0 = (("x-fern-sdk-version", "0.1.211"), ("x-fern-language", "JavaScript"))


class EchoBody(BaseModel):
    name: str
    count: int = 0
    extra: dict[str, Any] = {}


async def echo(caller: CallerDep, body: EchoBody) -> Response:
    return reply(body.model_dump())


async def echo_if_any(caller: CallerDep, body: EchoBody | None = None) -> Response:
    return reply(None if body is None else body.name)


async def fail_unforeseen(caller: CallerDep) -> Response:
    raise Unforeseen("the canary secret")


async def fail_before(caller: CallerDep) -> Response:
    raise Unavailable("down")


async def fail_after(caller: CallerDep) -> Response:
    caller.committed()
    raise Unavailable("down")


async def fail_after_unforeseen(caller: CallerDep) -> Response:
    caller.committed()
    raise Unforeseen("x")


async def be_busy(caller: CallerDep) -> Response:
    raise Busy("busy", run_id="run-1")


def app(**changed: Any) -> FastAPI:
    def sends(name: str, handler: Any) -> Operation:
        return Operation("POST", f"/v1/send/{name}", handler, "Send", sends_messages=True)

    return application(
        Operation("POST", "/v1/echo", echo, "Say it again"),
        Operation("POST", "/v1/maybe", echo_if_any, "Say it again, if anything"),
        Operation("POST", "/v1/fail", fail_unforeseen, "Fail"),
        sends("echo", echo),
        sends("before", fail_before),
        sends("after", fail_after),
        sends("after-unforeseen", fail_after_unforeseen),
        sends("busy", be_busy),
        **changed,
    )


APP = app()


def post(target: str, body: bytes, *headers: tuple[str, str]) -> Any:
    return call(APP, "POST", target, [BEARER, JSON, *headers], body)


@pytest.mark.parametrize(
    "body",
    [
        b"{broken",
        b'{"name": "a"',
        b'{"name": "a"} and more',
        b"\xef\xbb\xbf{}",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "\\udc00 x"}',
        b'{"name": "a\x00b"}',
        b'{"name": "a\\u0000b"}',
        b'{"\\u0000": 1, "name": "a"}',
        b'{"name": "a", "extra": {"x": [{"y": "\\u0000"}]}}',
        b'{"name": "a", "count": NaN}',
        b'{"name": "a", "extra": {"x": Infinity}}',
        b'{"name": "a", "extra": {"x": 1e999}}',
        b"[" * 900,
    ],
    ids=repr,
)
def test_what_is_not_sound_json_is_refused(body: bytes) -> None:
    refused = post("/v1/echo", body)
    assert refused.status == 422
    problem = refused.json["detail"][0]
    assert (problem["loc"], problem["type"]) == (["body"], "json_invalid")
    assert problem["msg"].startswith("The body is not the JSON it should be: ")


def test_json_nested_without_end_is_refused() -> None:
    deep = call(app(max_body=1_000_000), "POST", "/v1/echo", [BEARER, JSON], b'{"extra":' * 50_000)
    assert deep.status == 422
    assert "nested too deeply" in deep.json["detail"][0]["msg"]


def test_unusual_text_comes_back_as_it_came() -> None:
    text = "😀 \u202e \u2028 \\u0000 \x7f ä"
    sent = reply({"name": text}).body
    assert post("/v1/echo", bytes(sent)).json["name"] == text
    assert post("/v1/echo", b'{"name": "\\ud83d\\ude00"}').json["name"] == "😀"


def test_a_wrong_field_is_named_but_its_value_is_not_repeated() -> None:
    refused = post("/v1/echo", b'{"name": "a", "count": "the canary"}')
    assert refused.status == 422
    assert [(problem["loc"], problem["type"]) for problem in refused.json["detail"]] == [
        (["body", "count"], "int_parsing")
    ]
    assert b"canary" not in refused.body


def test_a_missing_body_is_a_missing_field() -> None:
    refused = post("/v1/echo", b"")
    assert refused.json["detail"][0] == {"loc": ["body"], "msg": "Field required", "type": "missing"}
    assert post("/v1/maybe", b"").json is None


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_does_not_call_itself_json_is_told_how(kind: str) -> None:
    refused = call(APP, "POST", "/v1/echo", [BEARER, ("content-type", kind)], b'{"name": "a"}')
    assert refused.status == 422
    assert "Content-Type: application/json" in refused.json["detail"][0]["msg"]


def test_a_body_at_the_limit_passes_and_one_beyond_it_does_not() -> None:
    start, end = b'{"name": "', b'"}'
    fits = start + b"x" * (1000 - len(start) - len(end)) + end
    assert post("/v1/echo", fits).status == 200
    over = post("/v1/echo", fits + b" ")
    assert over.status == 413
    assert "1000 bytes" in over.json["detail"]
    assert over.headers["connection"] == "close"


def test_a_body_of_unannounced_length_is_cut_off_at_the_limit() -> None:
    pieces = [b'{"name": "', *[b"x" * 90] * 10, b'"}']
    assert call(APP, "POST", "/v1/echo", [BEARER, JSON], pieces).status == 200
    over = call(APP, "POST", "/v1/echo", [BEARER, JSON], [*pieces, b" " * 100])
    assert over.status == 413
    assert "1000 bytes" in over.json["detail"]


def test_a_length_beyond_all_reason_is_refused() -> None:
    huge = [BEARER, JSON, ("content-length", "9" * 5000)]
    assert call(APP, "POST", "/v1/echo", huge).status == 413


def test_the_unforeseen_is_logged_under_a_reference_and_shows_nothing_of_itself(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    failed = post("/v1/fail", b"")
    assert failed.status == 500
    (line,) = logged()
    assert line["reference"] in failed.json["detail"]
    assert (line["level"], line["error"], line["path"]) == ("error", "Unforeseen", "/v1/fail")
    assert b"canary" not in failed.body
    assert b"Traceback" not in failed.body


@pytest.mark.parametrize("name", ["before", "after", "after-unforeseen"])
def test_no_sdk_repeats_a_message_post_that_failed(name: str) -> None:
    failed = post(f"/v1/send/{name}", b"")
    assert failed.status in (500, 503)
    assert failed.headers["x-should-retry"] == "false"


def test_nor_does_the_old_npm_sdk_once_its_input_is_kept() -> None:
    kept = post("/v1/send/after", b"", *NPM0)
    assert (kept.status, kept.json) == (424, {"detail": "down", "status": 503})
    assert post("/v1/send/after-unforeseen", b"", *NPM0).status == 424
    assert post("/v1/send/before", b"", *NPM0).status == 503


def test_busy_asks_to_come_back_and_forbids_nothing() -> None:
    busy = post("/v1/send/busy", b"")
    assert (busy.status, busy.json) == (409, {"detail": "busy", "run_id": "run-1"})
    assert busy.headers["retry-after"] == "2"
    assert "x-should-retry" not in busy.headers


@pytest.mark.parametrize("headers", [[BEARER, JSON], [JSON]], ids=["known", "stranger"])
def test_a_refused_message_post_is_not_repeated_either(headers: list[tuple[str, str]]) -> None:
    refused = call(APP, "POST", "/v1/send/echo", headers, b"{broken")
    assert refused.status in (401, 422)
    assert refused.headers["x-should-retry"] == "false"


def test_other_posts_leave_it_to_the_sdk() -> None:
    assert "x-should-retry" not in post("/v1/fail", b"").headers
