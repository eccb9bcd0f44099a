"""Tables and builds of request files."""

import json

import pytest

from doubleword_batch.requests import RequestSpec, build_request_files

CHAT = "/v1/chat/completions"


def spec(**changes):
    return RequestSpec(**({"endpoint": CHAT, "model": "m", "prompt": "Rate {{ text }}"} | changes))


def lines_of(file):
    return [json.loads(line) for line in file.path.read_text(encoding="utf-8").splitlines()]


def first_request(built):
    return lines_of(built.files[0])[0]


@pytest.fixture
def table(source):
    def make(rows=3, text="grüße"):
        lines = [json.dumps({"text": f"{text} {n}", "id": f"Ä {n}"}) for n in range(1, rows + 1)]
        return source("t.jsonl", "\n".join(lines))

    return make


@pytest.fixture
def build(tmp_path, doubleword):
    def make(source, changed=None, /, *, limits=None, **options):
        provider = doubleword.model_copy(update=limits or {})
        return build_request_files(source, changed or spec(), provider, tmp_path / "job", **options)

    return make
