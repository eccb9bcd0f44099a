"""The words of a failure are found wherever the provider put them."""

import json
import time

import pytest

from doubleword_batch.provider_errors import (
    FailureReason,
    ProviderError,
    read_error_body,
    read_failure_reason,
)

WORDS = "too long by 12"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": WORDS, "type": "x", "code": 400}},
        {"error": WORDS},
        {"error": "too_many_requests", "message": WORDS},
        {"object": "error", "message": WORDS, "type": "BadRequestError", "code": 400},
        {"detail": WORDS},
        {"detail": {"message": WORDS}},
        {"detail": {"error": {"message": WORDS}}},
        [{"error": {"message": WORDS, "code": 400, "status": "INVALID_ARGUMENT"}}],
        {"errors": [{"code": 7, "message": WORDS}]},
        {"error": {"message": json.dumps({"error": {"message": WORDS}})}},
        {"error": None, "detail": WORDS},
        {"error": {"code": WORDS}},
        {"message": {"type": WORDS}},
        json.dumps({"detail": WORDS}),
        WORDS,
    ],
    ids=json.dumps,
)
def test_the_words_are_found_wherever_they_stand(body):
    assert read_error_body(json.dumps(body).encode()).message == WORDS


def test_a_plain_text_body_is_its_own_words():
    assert read_error_body(b" Invalid file ID format\n") == ProviderError("Invalid file ID format")
    assert read_error_body(b"[INST] is not \xff allowed").message == "[INST] is not � allowed"


def test_a_failed_validation_says_where_and_what():
    problems = [{"loc": ["body", "messages", 0], "msg": WORDS, "type": "value_error"}] * 5
    message = read_error_body(json.dumps({"detail": problems}).encode()).message
    assert message == "; ".join([f"body.messages.0: {WORDS}"] * 3)


def test_a_body_without_words_stands_for_itself():
    assert read_error_body(b'{"reason":{"id":7}}').message == '{"reason":{"id":7}}'
    assert read_error_body(b"7").message == "7"


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"[]", b" \n"])
def test_a_body_that_holds_nothing_says_nothing(body):
    assert read_error_body(body) == ProviderError()


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"error":' * 1500, b'{"a":1'])
def test_a_body_that_cannot_be_decoded_stands_for_itself(body):
    assert read_error_body(body).message == body.decode("utf-8", "replace")


def test_no_more_of_a_large_body_is_kept_than_a_message_can_show():
    assert len(read_error_body(b"x" * 1_000_000).message) < 20_000


def test_words_inside_many_layers_of_json_text_end_the_search():
    body = json.dumps(WORDS)
    for _ in range(12):
        body = json.dumps({"error": body})
    assert WORDS in read_error_body(body.encode()).message


def test_the_provider_s_own_names_are_in_lower_case():
    assert read_error_body(b'{"error":{"code":"Spend_Cap","type":"Quota"}}').codes == {
        "spend_cap",
        "quota",
    }
    assert read_error_body(b'{"error":"Too_Many","message":"x"}').codes == {"too_many"}
    assert read_error_body(b'[{"error":{"code":"Busy"}}]').codes == {"busy"}
    assert read_error_body(b'{"error":{"code":429}}').codes == frozenset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ('"2.5"', 2.5), ("-1", 0), ("1e99", 1e9), ("true", None), ('"soon"', None)],
)
def test_a_wait_is_a_number_of_seconds_within_reason(text, seconds):
    body = b'{"error":"x","message":"y","retry_after_seconds":%s}' % text.encode()
    assert read_error_body(body).retry_after_seconds == seconds


def test_the_model_server_s_answer_is_read_out_of_a_failure_reason():
    body = json.dumps({"error": {"message": WORDS}})
    reason = {"type": "NonRetriableHttpStatus", "details": {"status": 400, "body": body}}
    assert read_failure_reason(json.dumps(reason)) == FailureReason(
        "NonRetriableHttpStatus", WORDS, 400, body.encode()
    )


def test_a_failure_reason_may_hold_the_body_as_an_object():
    reason = {"type": "x", "details": {"status": 500, "body": {"detail": WORDS}}}
    found = read_failure_reason(json.dumps(reason))
    assert found is not None
    assert (found.message, json.loads(found.body)) == (WORDS, {"detail": WORDS})


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ({"type": "NetworkError", "details": {"error": "reset"}}, ("NetworkError", "reset")),
        ({"type": "Timeout"}, ("Timeout", "Timeout")),
        ({"type": "TaskTerminated", "details": None}, ("TaskTerminated", "TaskTerminated")),
    ],
)
def test_a_reason_without_an_answer_has_its_kind(reason, expected):
    found = read_failure_reason(json.dumps(reason))
    assert found is not None
    assert (found.kind, found.message) == expected
    assert (found.status, found.body) == (None, b"")


@pytest.mark.parametrize("text", ["", "it broke", "null", "[]", '{"error":{"message":"x"}}'])
def test_other_messages_are_not_failure_reasons(text):
    assert read_failure_reason(text) is None


@pytest.mark.parametrize("body", [b"null", b"7", b'{"error": null}', b'{"error": {"code": 7}}'])
def test_a_body_without_words_is_read_as_soon_as_any(body):
    """Servers send one for each row of a job."""
    began = time.process_time()
    for _ in range(2_000):
        read_error_body(body)
    assert time.process_time() - began < 5
