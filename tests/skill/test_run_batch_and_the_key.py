"""Settings and answers of strangers: said in one line, and the key stays where it belongs."""

import json
import socket
import subprocess
import sys

import pytest

from skill.places import SCRIPTS
from skill.servers import answering

KEY = "do-not-leak-6f1d"


CONFIG = {
    "no key": ({}, "DOUBLEWORD_API_KEY is not set"),
    "a key that is none": ({"DOUBLEWORD_API_KEY": "a\nb"}, "is not a key"),
    "plain http": ({"DOUBLEWORD_BASE_URL": "http://example.com/v1"}, "over plain http"),
    "no address": ({"DOUBLEWORD_BASE_URL": "ftp://x"}, "not a plain http(s) address"),
    "credentials": ({"DOUBLEWORD_BASE_URL": "https://a:b@x/v1"}, "not a plain http(s) address"),
    "asking a person": (
        {"DOUBLEWORD_BATCH_ASK_ABOVE_USD": "0"},
        "which this script cannot enforce",
    ),
    "daily cap": ({"DOUBLEWORD_BATCH_MAX_DAILY_USD": "1"}, "which this script cannot enforce"),
    "read only": ({"DOUBLEWORD_BATCH_READ_ONLY": "1"}, "which this script cannot enforce"),
    **{
        f"{text} as an amount": ({"DOUBLEWORD_BATCH_MAX_COST_USD": text}, "is not an amount")
        for text in ("much", "-1", "nan", "inf")
    },
}


@pytest.mark.parametrize("case", CONFIG)
def test_what_a_person_has_to_set_is_said_in_one_line(run, requests_of, case):
    requests_of(1)
    variables, words = CONFIG[case]
    key = {} if case == "no key" else {"DOUBLEWORD_API_KEY": KEY}

    done = run("run_batch.py", "requests.jsonl", **key | variables)

    assert done.code == 4
    assert words in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("words", [("--max-cost", "nan"), ("--max-cost=-1",), ("--poll", "inf")])
def test_an_amount_or_a_time_that_is_none_is_a_mistake_of_the_command_line(run, requests_of, words):
    requests_of(1)
    assert run("run_batch.py", "requests.jsonl", *words, DOUBLEWORD_API_KEY=KEY).code == 2


def test_a_wrong_key_and_a_server_that_is_not_there_are_told_apart(run, served, requests_of):
    requests_of(1)
    with served() as server:
        wrong = run(
            "run_batch.py", "requests.jsonl", **server.variables | {"DOUBLEWORD_API_KEY": KEY}
        )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    nobody = run("run_batch.py", "requests.jsonl", "--patience", "0", DOUBLEWORD_BASE_URL=url)

    assert wrong.code == 5
    assert "Check DOUBLEWORD_API_KEY" in wrong.err
    assert KEY not in wrong.err + wrong.out
    assert nobody.code == 6
    assert "run the same command again" in nobody.err


def test_a_redirect_never_carries_the_key_to_another_address(run, requests_of):
    requests_of(1)
    with (
        answering(200, b"{}", {}) as (elsewhere, seen_elsewhere),
        answering(307, b"", {"Location": elsewhere}) as (here, seen_here),
    ):
        done = run(
            "run_batch.py", "requests.jsonl", "--patience", "0",
            DOUBLEWORD_BASE_URL=here, DOUBLEWORD_API_KEY=KEY,
        )  # fmt: skip

    assert done.code == 5
    assert "a redirect, which is not followed" in done.err
    assert seen_here[0]["Authorization"] == f"Bearer {KEY}"
    assert seen_elsewhere == []


def test_a_proxy_for_plain_http_does_not_see_what_is_meant_for_this_machine(run, requests_of):
    requests_of(1)
    with answering(200, b"{}", {}) as (proxy, seen), answering(404, b"", {}) as (here, _):
        run(
            "run_batch.py", "requests.jsonl", "--patience", "0", http_proxy=proxy,
            HTTP_PROXY=proxy, DOUBLEWORD_BASE_URL=here, DOUBLEWORD_API_KEY=KEY,
        )  # fmt: skip

    assert seen == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>login</html>", "is not this API's"),
        (b'["a"]', "is not this API's"),
        (f'{{"echo": "{KEY}"}}'.encode(), ""),
    ],
)
def test_what_is_not_the_api_is_said_in_one_line_without_the_key(run, requests_of, body, words):
    requests_of(1)
    with answering(200, body, {}) as (here, _):
        done = run(
            "run_batch.py", "requests.jsonl", "--patience", "0",
            DOUBLEWORD_BASE_URL=here, DOUBLEWORD_API_KEY=KEY,
        )  # fmt: skip

    assert done.code == 6
    assert words in done.err
    assert KEY not in done.err + done.out
    assert done.err.count("\n") == 1


ECHOES = {
    "as it is": KEY,
    "JSON escapes": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "one escape": KEY.replace("d", "\\u0064", 1),
    "a text in a text": "".join(f"\\\\u{ord(c):04X}" for c in KEY),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_answer_cannot_show_the_key_back(run, requests_of, echo):
    requests_of(1)
    for body in (f"bad key {echo}\x1b[31m", f'{{"message":"bad key {echo}\\u001b[31m"}}'):
        with answering(400, body.encode(), {}) as (here, _):
            done = run(
                "run_batch.py", "requests.jsonl", DOUBLEWORD_BASE_URL=here, DOUBLEWORD_API_KEY=KEY
            )
        assert done.code == 5
        assert "«bad key ***�[31m»" in done.err


READ = """
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from batchkit.api import Api
from batchkit.settings import read_settings
for block in Api(read_settings(), 0).lines("/files/file-1/content", 0):
    sys.stdout.buffer.write(block)
"""


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_results_are_kept_without_the_key(environment, echo):
    line = f'{{"custom_id":"r1","response":{{"body":"x{echo}"}}}}\n'.encode()
    with answering(200, line, {"Content-Length": str(len(line))}) as (here, _):
        done = subprocess.run(
            [sys.executable, "-c", READ, SCRIPTS],
            env=environment | {"DOUBLEWORD_BASE_URL": here, "DOUBLEWORD_API_KEY": KEY},
            capture_output=True,
            timeout=60,
            check=True,
        )
    assert json.loads(done.stdout)["response"]["body"] == "x***"


def test_a_proxy_that_is_not_there_is_named_and_its_password_is_not(run, requests_of):
    requests_of(1, "requests.jsonl")
    with socket.socket() as held:  # bound, and not listening: nobody answers there
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        done = run(
            "run_batch.py", "requests.jsonl", "--patience", "0",
            DOUBLEWORD_BASE_URL="https://api.example.test/v1", DOUBLEWORD_API_KEY="key",
            HTTPS_PROXY=f"http://user:secret@127.0.0.1:{port}", NO_PROXY="", no_proxy="",
        )  # fmt: skip
    assert done.code == 6
    assert f"through the proxy 127.0.0.1:{port}" in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize(
    ("block", "is_direct"), [("0.0.0.0/8", True), ("10.0.0.0/8,fd00::/8", False)]
)
def test_no_proxy_leads_past_the_proxy_to_whole_blocks_of_numbers(run, block, is_direct):
    with answering(403, b"", {}) as (proxy, _):
        done = run(
            "list_jobs.py", "models", "--patience", "0",
            DOUBLEWORD_BASE_URL="https://0.0.0.0:1/v1", DOUBLEWORD_API_KEY="key",
            HTTPS_PROXY=proxy, NO_PROXY=block, no_proxy=block,
        )  # fmt: skip
    assert done.code == 6
    assert ("through the proxy" in done.err) is not is_direct
