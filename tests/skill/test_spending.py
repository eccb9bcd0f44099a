"""What a request may cost under a cap: the script counts as the package does."""

import json
import subprocess
import sys

import pytest

from attacks.test_caps import (
    CHAT,
    COMPLETIONS,
    COUNTS_THAT_ARE_NONE,
    HIDDEN,
    IMAGE,
    MESSAGES,
    PRICED,
    RESPONSES,
)
from doubleword_batch.errors import InputError
from doubleword_batch.requests.token_bounds import bound_body
from skill.places import SCRIPTS, script_module

EMBEDDINGS = "/v1/embeddings"
COUNT = """
import json, sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from batchkit.spending import _UnknownCost, output_tokens_of
for line in sys.stdin:
    body, endpoint = json.loads(line)
    try:
        print(output_tokens_of(body, endpoint))
    except _UnknownCost:
        print(None)
"""
PARAMS = [
    *(
        {},
        {"max_tokens": 7},
        {"max_completion_tokens": 7, "max_tokens": 9},
        {"n": 3},
        {"stream": None},
    ),
    *({"max_output_tokens": 7}, {"min_tokens": 300_000}, {"max_tokens": 10**30}, {"stream": True}),
    *({"max_tokens": 7, "n": 4, "best_of": 6}, {"echo": True}, {"background": True}, {"user": 5}),
    *({"thinking": {"type": "enabled", "budget_tokens": 900}}, {"thinking": {"tokens": 1}}),
    *({"reasoning": {"effort": "high", "max_tokens": 900}}, {"reasoning": "high"}),
    *({"tools": [{"type": "function", "function": {}}]}, {"tools": None}, {"tools": [5]}),
    *({"modalities": ["text"]}, {"response_format": {}}, {"temperature": "x"}, {"model": 5}),
    *({"prompt": "x"}, {"suffix": "x"}, {"metadata": {}}, {"dimensions": 8}, {"service_tier": "x"}),
    *({"messages": [{"content": [{"type": "image_url"}]}]}, {"input": [{"type": "x"}]}),
    *({"messages": [{"content": [{"type": "input_audio"}]}]}, {"messages": "x"}),
    *({"messages": [{"content": [{"video_url": {}}]}]}, {"messages": [{"audio": {"id": "a"}}]}),
    *({"messages": [{"content": [IMAGE | {"detail": []}]}]}, {"input": [[1, 2], [3]]}),
    *({"messages": {"role": "user"}}, {"input": [{"image_url": "x"}]}, {"messages": [{"type": 5}]}),
    *({"messages": [{"role": "assistant", "audio": None}]}, {"input": [{"output": {}}]}),
    *(
        {
            "messages": [
                {
                    "role": "tool",
                    "content": [{"type": "tool_result", "content": [{"type": "video"}]}],
                }
            ]
        },
    ),
]


def package_says(body, endpoint):
    try:
        return bound_body(json.dumps(body).encode(), endpoint).output_tokens
    except InputError:
        return None


def test_the_script_and_the_package_count_the_same():
    cases = [
        ({"model": "m", **params}, endpoint)
        for params in [*PARAMS, *COUNTS_THAT_ARE_NONE, *PRICED, *HIDDEN]
        for endpoint in (CHAT, COMPLETIONS, MESSAGES, RESPONSES, EMBEDDINGS, "/v1/images")
    ]
    done = subprocess.run(
        [sys.executable, "-c", COUNT, SCRIPTS],
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed = [None if line == "None" else int(line) for line in done.stdout.splitlines()]
    wanted = [package_says(*case) for case in cases]
    wrong = [
        (case, ours, theirs)
        for case, ours, theirs in zip(cases, printed, wanted, strict=True)
        if ours != theirs
    ]
    assert wrong == []


def test_no_line_has_two_of_what_counts(tmp_path):
    file = tmp_path / "ready.jsonl"
    line = b'{"url": "/v1/chat/completions", "body": {"model": "m"}, "Body": {"max_tokens": 5}}'
    file.write_bytes(line + b"\n")
    with pytest.raises(script_module("cli").ScriptError, match="twice"):
        script_module("spending").most_output_tokens(file)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"max_tokens": 100_000, "n": 64}, "by the requests' token limits"),
        ({"max_tokens": "100000"}, "not a whole number"),
        ({}, "by the requests' token limits"),
        ({"max_tokens": 1, "tools": [{"type": "web_search"}]}, "it holds «tools»"),
        ({"max_tokens": 1, "tools": [{"type": ["function"]}]}, "it holds «tools»"),
    ],
)
def test_a_cheap_estimate_does_not_pass_a_cap_that_the_requests_limits_do_not(
    run, work, served, params, words
):
    from doubleword_batch.local.executors.faults import ServerFault

    estimate = {"total_estimated_cost": "0.0001", "total_estimated_output_tokens": 100}
    cheap = ServerFault(
        fault="status",
        route="GET /v1/files/{id}/cost-estimate",
        status=200,
        body=json.dumps(estimate),
        content_type="application/json",
        times=None,
    )
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **params}
    line = {"custom_id": "r1", "method": "POST", "url": CHAT, "body": body}
    (work / "requests.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with served(server=[cheap]) as server:
        done = run("run_batch.py", "requests.jsonl", "--max-cost", "0.1", **server.variables)
    assert done.code == 3
    assert words in done.err
    assert "nothing was submitted" in done.err
