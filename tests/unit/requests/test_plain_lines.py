"""The fast way over request lines finds what the close look finds, whatever they are."""

import json

import pytest

from doubleword_batch.providers import profile
from doubleword_batch.requests import line_checks, validate, validate_request_file

MESSAGE = {"role": "user", "content": "Is it?"}
BODY = {"model": "m", "messages": [MESSAGE], "input": "Is it?"}
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
URLS = ("/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/other")
PRIVATE = {"url": "http://169.254.169.254/latest"}
IMAGE = {"type": "image_url", "image_url": PRIVATE}
# "DEEP600" becomes 600 lists in each other, "BAD" a byte that is not UTF-8.
VALUES = (
    *("", "é", "BAD", "\x00", "m", None, True, 0, -1, 2**64, 10**400, 1e308, float("nan"), [], {}),
    *([""], ["é", "BAD"], [[1, 2]], [MESSAGE], [{}], [{"role": "user"}], ["DEEP600"], {"a": "BAD"}),
    *({"a": "DEEP400"}, {"a": "DEEP600"}, {"a": "DEEP5000"}, {"image_url": PRIVATE}),
    *([MESSAGE | {"content": None}], [MESSAGE | {"content": [IMAGE]}], [MESSAGE | {"name": "é"}]),
    *([MESSAGE | {"image_url": "http://10.0.0.1/a.png"}], [MESSAGE | {"tool_calls": [PRIVATE]}]),
)
IN_BODY = (
    *("model", "messages", "input", "instructions", "prompt", "max_tokens", "temperature", "n"),
    *("seed", "stream", "response_format", "text", "service_tier", "tools", "metadata", "image"),
)


def written(line):
    text = json.dumps(line, ensure_ascii=False).encode().replace(b"BAD", b"\xff")
    for depth in (400, 600, 5_000):
        text = text.replace(b'"DEEP%d"' % depth, b"[" * depth + b"0" + b"]" * depth)
    return text + b"\n"


def lines_with(name):
    """The plain line with each of the values in that field of it or of its body."""
    for value in VALUES:
        if name not in IN_BODY:
            yield written(LINE | {name: value})
            continue
        for url in URLS if name in {"messages", "input"} else URLS[:1]:
            yield written(LINE | {"url": url, "body": BODY | {name: value}})


@pytest.mark.parametrize("name", ["custom_id", "method", "url", "body", "extra", *IN_BODY])
def test_a_report_is_the_same_by_the_fast_way_and_by_the_close_look(tmp_path, monkeypatch, name):
    path = tmp_path / "requests.jsonl"

    def report():
        return validate_request_file(path, profile("doubleword"))

    plain = [written(LINE | {"custom_id": custom_id}) for custom_id in ("b", "c", "b")]
    for line in lines_with(name):
        path.write_bytes(b"".join([line, *plain, line, line, *plain]))
        fast = report()
        with monkeypatch.context() as closely:
            closely.setattr(validate, "read_plain", lambda _line: None)
            assert fast == report(), line[:300]


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
@pytest.mark.parametrize("most", [10, 100_000], ids=["ids in files", "ids in memory"])
def test_custom_ids_that_are_checked_together_are_found_with_their_lines(
    tmp_path, monkeypatch, count, most
):
    monkeypatch.setattr(line_checks, "MOST_IN_MEMORY", most)
    names = [f"r{number}" for number in range(count)]
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"".join(written(LINE | {"custom_id": name}) for name in [*names, "r7", "é"]))
    report = validate_request_file(path, profile("doubleword"))
    found = {group.kind: [problem.line for problem in group.first] for group in report.groups}
    assert report.requests == count + 2
    assert found == {"custom_id_not_header_safe": [count + 2], "custom_id_duplicate": [count + 1]}
