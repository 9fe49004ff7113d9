import pytest

from perdure.domain.errors import (
    Busy,
    Conflict,
    Expired,
    Invalid,
    ModelError,
    NotBuilt,
    PerdureError,
    Unauthorized,
    Unavailable,
    Unprocessable,
    not_found,
)
from perdure.domain.runs import RunError
from perdure.wire.errors import MAX_PROBLEMS, MAX_TEXT, failure, for_message_post, run_failure, validation_failure


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("no"), 400),
        (Unauthorized("no"), 401),
        (not_found("Agent", "agent-1"), 404),
        (Conflict("no"), 409),
        (Expired("gone"), 410),
        (NotBuilt("no"), 501),
        (Unavailable("no"), 503),
    ],
)
def test_each_error_has_its_status_and_says_why(error: PerdureError, status: int) -> None:
    failed = failure(error)
    assert failed.status == status
    assert failed.body["detail"] == ("Unauthorized" if status == 401 else error.message)


def test_busy_names_the_run_and_asks_to_come_back() -> None:
    failed = failure(Busy("Another request is being processed", run_id="run-1"))
    assert failed.status == 409
    assert failed.body == {"detail": "Another request is being processed", "run_id": "run-1"}
    assert failed.headers == {"retry-after": "2"}


def test_a_pending_approval_has_the_shape_clients_look_for() -> None:
    failed = failure(Conflict("CONFLICT: waiting", pending_request_id="message-1"))
    assert (failed.status, failed.headers) == (409, {})
    assert failed.body == {
        "detail": {"code": "PENDING_APPROVAL", "message": "CONFLICT: waiting", "pending_request_id": "message-1"}
    }


@pytest.mark.parametrize(
    ("error_type", "status"),
    [
        ("llm_authentication", 401),
        ("llm_insufficient_credits", 402),
        ("llm_rate_limit", 429),
        ("llm_timeout", 504),
        ("llm_bad_request", 400),
        ("llm_error", 500),
        ("llm_empty_response", 500),
    ],
)
def test_a_failed_model_call_has_the_contracts_status_and_body(error_type: str, status: int) -> None:
    error = ModelError(error_type, "the provider's words")
    failed = failure(error)
    assert failed.status == status
    assert failed.body == {"error": {"type": error_type, "message": error.message, "detail": "the provider's words"}}
    assert run_failure(RunError(error_type=error_type, message="m", detail=None)).status == status


def test_a_providers_wish_to_wait_is_passed_on_in_whole_seconds() -> None:
    assert failure(ModelError("llm_rate_limit", "", retry_after=1.2)).headers == {"retry-after": "2"}


def test_a_run_that_failed_by_itself_is_a_500() -> None:
    failed = run_failure(RunError(error_type="run_interrupted", message="stopped", detail="why"))
    assert failed.status == 500
    assert failed.body == {"error": {"type": "run_interrupted", "message": "stopped", "detail": "why"}}


def test_a_wrong_field_is_named_without_what_was_sent() -> None:
    problem = {
        "loc": ("body", "messages", 0, "function-after[check(), Message]", "role"),
        "msg": "Value error, not a role",
        "type": "value_error",
        "input": "secret",
        "ctx": {"error": ValueError("secret")},
    }
    failed = validation_failure([problem])
    assert failed.status == 422
    assert failed.body == {
        "detail": [{"loc": ["body", "messages", 0, "role"], "msg": "not a role", "type": "value_error"}]
    }


def test_what_was_sent_cannot_make_a_refusal_long() -> None:
    long = "x" * 10_000
    failed = validation_failure([{"loc": ("body", long), "msg": long, "type": "t"}] * 1000)
    assert len(failed.body["detail"]) == MAX_PROBLEMS
    assert len(failed.body["detail"][0]["msg"]) == MAX_TEXT
    assert len(failed.body["detail"][0]["loc"][1]) == MAX_TEXT


def test_an_unprocessable_field_is_answered_like_one_the_framework_refused() -> None:
    failed = failure(Unprocessable("must be short", ("body", "label"), "too_long"))
    assert failed.body == {"detail": [{"loc": ["body", "label"], "msg": "must be short", "type": "too_long"}]}


@pytest.mark.parametrize("npm_v0", [False, True])
@pytest.mark.parametrize("ran", [False, True])
def test_no_failure_of_a_message_post_may_be_sent_again(npm_v0: bool, ran: bool) -> None:
    failed = for_message_post(failure(Unavailable("down", retry_after=5)), ran=ran, npm_v0=npm_v0)
    assert failed.headers["x-should-retry"] == "false"


def test_busy_before_anything_ran_may_be_tried_again() -> None:
    busy = failure(Busy("busy", run_id="run-1"))
    assert for_message_post(busy, ran=False, npm_v0=False) == busy
    assert for_message_post(busy, ran=True, npm_v0=False).headers["x-should-retry"] == "false"


def test_a_pending_approval_is_no_reason_to_send_again() -> None:
    pending = failure(Conflict("waiting", pending_request_id="message-1"))
    assert for_message_post(pending, ran=False, npm_v0=False).headers == {"x-should-retry": "false"}


@pytest.mark.parametrize(("error_type", "status"), [("llm_timeout", 504), ("llm_rate_limit", 429), ("llm_error", 500)])
def test_the_old_npm_sdk_is_told_the_true_status_in_the_body_once_its_input_is_kept(
    error_type: str, status: int
) -> None:
    true = run_failure(RunError(error_type=error_type, message="m"))
    told = for_message_post(true, ran=True, npm_v0=True)
    assert told.status == 424
    assert told.body == {**true.body, "status": status}
    assert for_message_post(true, ran=False, npm_v0=True).status == status
    assert for_message_post(true, ran=True, npm_v0=False).status == status


def test_the_old_npm_sdk_gets_statuses_it_does_not_repeat_as_they_are() -> None:
    refused = run_failure(RunError(error_type="llm_bad_request", message="m"))
    assert for_message_post(refused, ran=True, npm_v0=True).status == 400
