"""The time that a person gives with --timeout: it is for everything, connecting included."""

import socket
import time

import pytest

from skill.servers import OneBatch, serving_one

GIVEN_SECONDS = 1
LATEST_SECONDS = 30
"""Long before the patience (180) and the wait for an answer (120) end; a busy machine has room."""


@pytest.fixture
def run_for_a_second(run, requests_of):
    requests_of(1)

    def start(*options, **variables):
        began = time.monotonic()
        done = run(
            "run_batch.py", "requests.jsonl", "--timeout", GIVEN_SECONDS, *options, **variables
        )
        assert time.monotonic() - began < LATEST_SECONDS
        return done

    return start


@pytest.mark.parametrize("answers", ["refuses", "is silent"])
def test_it_ends_where_nothing_answers_and_says_how_to_go_on(run_for_a_second, answers):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if answers == "is silent":
            held.listen()
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        done = run_for_a_second(DOUBLEWORD_BASE_URL=url)
    assert done.code == 6
    (last,) = done.err.splitlines()
    assert last.startswith("error: No complete answer to GET /")
    assert last.endswith("then run the same command again.")


def test_it_ends_where_the_server_is_out_of_order(run_for_a_second):
    server = OneBatch()
    server.pages = (503, {"error": {"message": "down"}})
    with serving_one(server) as variables:
        done = run_for_a_second(**variables)
    assert done.code == 5
    assert done.err.endswith("with 503: «down». Run it again later.\n")


def test_it_ends_the_search_for_a_creation_and_the_next_run_goes_on_with_it(run_for_a_second):
    server = OneBatch(status="in_progress")
    server.reply = None
    with serving_one(server) as variables:
        first = run_for_a_second("--in-doubt", "600", **variables)
        (body,) = server.created
        server.pages = lambda _after: {"data": [server.batch | body], "has_more": False}
        second = run_for_a_second(**variables)
    assert first.code == 6
    assert "It is not known yet whether the creation reached the server. Run the same" in first.err
    assert second.code == 9
    assert len(server.created) == 1
