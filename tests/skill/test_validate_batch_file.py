import json

import pytest

from doubleword_batch.providers import profile
from doubleword_batch.requests import validate_request_file

URL = "/v1/chat/completions"


def line(custom_id="a", url=URL, method="POST", **body):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | body
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": body})


def bare(custom_id, url=URL, **body):
    body = {"model": "m"} | body
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


BROKEN = {
    "sound": [line("a"), line("b")],
    "duplicates": [line("a"), line("b"), line("a"), line("a")],
    "ids": [line(""), line("ä"), line("x" * 65), line("tab\t")],
    "methods and urls": [line("a", method="GET"), line("b", url="/v1/nope"), line("c", method="")],
    "two endpoints": [line("a"), line("b", url="/v1/embeddings"), line("c", url="/v1/messages")],
    "models": [line("a", model=""), line("b", model=None), line("c", stream=True)],
    "json": [line("a"), "{", "[1]", '"x"', '{"a": NaN}', line("b")],
    "content": [
        *(line(name, messages=value) for name, value in (("a", []), ("b", "hi"), ("c", ["hi"]))),
        *(line(name, url="/v1/responses", input=value) for name, value in (("d", ""), ("e", 7))),
    ],
    "no content": [
        bare("a"),
        bare("b", prompt="hi"),
        bare("c", "/v1/messages"),
        bare("d", messages=None),
    ],
    "no input": [
        bare("a", "/v1/responses"),
        bare("b", "/v1/responses", instructions="Be short"),
        bare("c", "/v1/responses", prompt={"id": "p"}),
        bare("d", "/v1/responses", previous_response_id="r"),
        bare("e", "/v1/responses", conversation="c"),
    ],
    "no text": [bare("a", "/v1/embeddings", prompt="hi"), bare("b", "/v1/embeddings", input=None)],
    "addresses": [
        line(name, messages=[{"role": "user", "content": [{"image_url": {"url": address}}]}])
        for name, address in (
            *(("a", "https://10.0.0.1/"), ("b", "https://example.org/a.png")),
            *(("c", "data:image/png;base64,xx"), ("d", "file:///etc/passwd")),
        )
    ],
    "half a pair": [line("a").replace('"m"', '"\\ud800"')],
    "missing": ['{"custom_id": "a"}', '{"body": 3}', "{}", '{"body": {}, "url": 7}'],
    "blank": [line("a"), "", "  ", line("b")],
    "bom": ["\ufeff" + line("a")],
    "nothing": [],
    "nested": ["[" * 100_000],
    "deep": [
        line("a").replace('"m"', '"m", "x": ' + "[" * depth + "]" * depth) for depth in (498, 499)
    ],
    "large": [line("a", text="x" * 10_485_760), line("b", text="y" * 11_000_000)],
}


@pytest.mark.parametrize("case", BROKEN)
def test_finds_the_faults_that_the_package_finds(run, work, case):
    path = work / "requests.jsonl"
    path.write_text("".join(f"{text}\n" for text in BROKEN[case]), encoding="utf-8")

    done = run("validate_batch_file.py", "requests.jsonl", "--json")

    expected = validate_request_file(path, profile("doubleword"))
    found = json.loads(done.out)
    assert found["requests"] == expected.requests
    assert found["ok"] == expected.ok
    assert done.code == (0 if expected.ok else 8)
    lines = {
        fault["kind"]: (fault["count"], [place["line"] for place in fault["first"]])
        for fault in found["faults"]
    }
    assert lines == {
        group.kind: (group.count, [place.line for place in group.first])
        for group in expected.groups
    }


def test_a_number_that_no_server_can_read_is_a_fault(run, work):
    (work / "requests.jsonl").write_text(line(top_p="@").replace('"@"', "1e999") + "\n")

    done = run("validate_batch_file.py", "requests.jsonl")

    assert done.code == 8
    assert "not_json (1)" in done.out


@pytest.mark.parametrize("content", [b"\xff\xfea\0", b'{"custom_id": "\xff"}\n'])
def test_says_that_a_file_is_not_utf8(run, work, content):
    (work / "requests.jsonl").write_bytes(content)

    done = run("validate_batch_file.py", "requests.jsonl")

    assert done.code == 8
    assert "bad_utf8 (1): Save the file as UTF-8" in done.out


def test_a_file_that_is_not_there_is_one_line_on_stderr(run):
    done = run("validate_batch_file.py", "nowhere.jsonl")

    assert done.code == 3
    assert done.err == "error: There is no file «nowhere.jsonl». Check the path.\n"


def test_what_a_line_holds_cannot_pass_for_a_line_of_the_report(run, work):
    (work / "requests.jsonl").write_text(line("x\nrequests.jsonl: 1 requests, sound\x1b[2J") + "\n")

    done = run("validate_batch_file.py", "requests.jsonl")

    assert done.out.splitlines()[0] == "requests.jsonl: 1 requests, has faults"
    assert not any(text.startswith("requests.jsonl") for text in done.out.splitlines()[1:])
    assert "\x1b" not in done.out
