"""The script against servers that refuse early, trickle, and pack; over TLS too."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from early_refusals import cases
from wire.certificates import self_signed
from wire.scripted_server import Answer, answer, serving

SCRIPTS = Path(__file__).parents[2] / "skill/doubleword-batch/scripts"
LINE = (
    '{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m",'
    '"messages":[{"role":"user","content":"%s"}]}}\n'
)
KEY = "sk-do-not-leak-0123456789"
NO_FILES = answer(200, {"object": "list", "data": [], "has_more": False})


@pytest.fixture(params=["plain", "tls"])
def tls(request, tmp_path):
    return self_signed(tmp_path) if request.param == "tls" else (None, None)


async def run(folder, base_url, certificate, *, size=1, code=""):
    requests = folder / "requests.jsonl"
    lines = "".join(LINE % (number, "x" * size) for number in range(1_000))
    requests.write_text(lines, encoding="utf-8")
    environment = {**os.environ, "DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": base_url}
    if certificate:
        environment["SSL_CERT_FILE"] = str(certificate)
    command = [sys.executable, str(SCRIPTS / "run_batch.py"), str(requests), "--patience", "0"]
    if code:
        command = [sys.executable, "-X", "utf8", "-c", code]
    work = partial(
        subprocess.run,
        command,
        cwd=SCRIPTS,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return await to_thread.run_sync(work)


def upload_refused(status, words):
    """What the script asks first is answered; the upload is refused at its head."""
    refusal = replace(answer(status, words, kind="text/plain"), refuse=0)
    return [lambda asked: refusal if asked.method == "POST" else NO_FILES] * 10


@pytest.mark.parametrize(("status", "size"), cases(1, 2_000, 50_000))
async def test_an_early_refusal_is_shown(tmp_path, tls, status, size):
    context, certificate = tls
    async with serving(*upload_refused(status, b"Not for you"), tls=context) as server:
        ran = await run(tmp_path, server.base_url, certificate, size=size)
    assert f"with {status}: «Not for you»" in ran.stderr
    assert KEY not in ran.stderr


ASK = """
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
from batchkit import api
from batchkit.settings import read_settings
try:
    print(api.Api(read_settings(), 90).get("/batches/b"))
except Exception as error:
    print(type(error).__name__, error)
"""
FOR_A_PERSON = {
    "unverified": (
        {"error": "too_many_requests", "message": "Unverified accounts can submit at most 1000."},
        "add a payment method",
    ),
    "quota": ({"error": {"message": "m", "type": "insufficient_quota"}}, "needs credit"),
    "cap": ({"error": {"message": "m", "code": "spend_cap_exceeded"}}, "spend cap"),
}


@pytest.mark.parametrize("why", FOR_A_PERSON)
async def test_a_429_that_waiting_does_not_end_says_who_has_to_act(tmp_path, why):
    body, hint = FOR_A_PERSON[why]
    refusal = answer(429, body, headers={"Retry-After": "60"})
    async with serving(refusal, answer(200, {"id": "b"})) as server:
        ran = await run(tmp_path, server.base_url, None, code=ASK)
        assert len(server.requests) == 1
    assert hint in ran.stdout
    assert "Wait, then" not in ran.stdout


SLOW = """
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
from batchkit import api
api._TIMEOUT_SECONDS = 1
from batchkit.settings import read_settings
one = api.Api(read_settings(), 0)
try:
    print(b"".join(one.lines("/files/f/content", 0)) if "lines" == "%s" else one.get("/models"))
except Exception as error:
    print(type(error).__name__, error)
"""
HEAD = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.mark.parametrize("asked", ["get", "lines"])
@pytest.mark.parametrize("part", ["head", "body"])
async def test_an_answer_that_trickles_ends(tmp_path, tls, asked, part):
    context, certificate = tls
    drip = {"head": (HEAD, b"X: y\r\n"), "body": (HEAD + b"\r\n{", b" ")}[part]
    async with serving(Answer(drip[0], drip_with=drip[1]), tls=context) as server:
        ran = await run(tmp_path, server.base_url, certificate, code=SLOW % asked)
    assert ran.stdout.startswith("TransportError"), ran.stdout + ran.stderr


async def test_a_packed_answer_is_not_unpacked(tmp_path):
    packed = answer(200, b"x", headers={"Content-Encoding": "gzip, gzip"})
    async with serving(packed) as server:
        ran = await run(tmp_path, server.base_url, None, code=SLOW % "get")
    assert "is packed as «gzip, gzip», which was not requested" in ran.stdout


LONG = """
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
from batchkit import api
api._LONGEST_LINE = 200_000
from batchkit.settings import read_settings
try:
    for block in api.Api(read_settings(), 0).lines("/files/f/content", 0):
        sys.stdout.write(block.decode())
except Exception as error:
    print(type(error).__name__, error)
"""


def sent(text):
    return answer(200, text.encode(), kind="application/x-ndjson")


def long_line(size=700_000):
    body = {"choices": [{"message": {"content": "x" * size}}]}
    response = {"status_code": 200, "body": body}
    return json.dumps({"id": "q", "custom_id": "r1", "response": response})


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("end", ["\n", ""])
async def test_a_line_that_is_too_long_costs_its_own_row_only(tmp_path, place, end):
    texts = ['{"custom_id":"before"}', '{"custom_id":"behind"}']
    texts.insert(place, long_line())
    async with serving(sent("\n".join(texts) + end)) as server:
        ran = await run(tmp_path, server.base_url, None, code=LONG)
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    names = ["before", "behind"]
    names.insert(place, "r1")
    assert [line["custom_id"] for line in found] == names
    assert found[place]["error"] == {
        "code": "line_too_long",
        "message": f"The result line has {len(long_line()):,} bytes; up to 200,000 are read.",
    }


async def test_a_line_that_is_too_long_and_cut_is_asked_for_again(tmp_path):
    async with serving(sent(long_line()[:-9])) as server:
        ran = await run(tmp_path, server.base_url, None, code=LONG)
    assert ran.stdout.startswith("TruncatedFileError"), ran.stdout + ran.stderr
    assert "its last line is cut" in ran.stdout


ASK_TWICE = """
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
from batchkit import api
from batchkit.settings import read_settings
asked = api.Api(read_settings(), 5)
try:
    print(getattr(asked, sys.argv[1])("/batches/b"))
except api.TransportError as error:
    print("TransportError", error.may_have_happened)
"""


@pytest.mark.parametrize(
    ("call", "printed"), [("get", "{'id': 'b'}"), ("post", "TransportError True")]
)
async def test_an_object_that_ends_in_the_middle_is_a_lost_answer(tmp_path, call, printed):
    cut = Answer(b'HTTP/1.0 200 X\r\n\r\n{"id": "b')
    code = ASK_TWICE.replace("sys.argv[1]", repr(call))
    async with serving(cut, answer(200, {"id": "b"})) as server:
        ran = await run(tmp_path, server.base_url, None, code=code)
    assert ran.stdout.strip() == printed, ran.stderr


async def test_lines_behind_a_byte_order_mark_and_a_wrong_length_are_read(tmp_path):
    line = b'\xef\xbb\xbf{"custom_id":"r1"}\n'
    head = b"HTTP/1.1 200 X\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(line), line)
    async with serving(Answer(head + chunks)) as server:
        ran = await run(tmp_path, server.base_url, None, code=LONG)
    assert json.loads(ran.stdout.lstrip("\ufeff")) == {"custom_id": "r1"}, ran.stderr


ASK_ON = """
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
from batchkit import api
from batchkit.settings import read_settings
asked = api.Api(read_settings(), 2)
try:
    for _ in range(2):
        print(asked.get("/batches/b"))
except api.ApiError as error:
    print(error)
"""


@pytest.mark.parametrize("refused", [1, 20])
async def test_a_key_that_was_accepted_before_is_tried_again_for_a_while(tmp_path, refused):
    """A server whose database is away refuses every key."""
    there, away = answer(200, {"id": "b"}), answer(401, b"Authentication required")
    async with serving(there, *[away] * refused, there) as server:
        ran = await run(tmp_path, server.base_url, None, code=ASK_ON)
    first, second = ran.stdout.splitlines()[:2]
    assert first == "{'id': 'b'}"
    if refused == 1:
        assert second == first
    else:
        assert "401" in second
        assert len(server.requests) > 2


@pytest.mark.parametrize("models", [500, 503, 401, 404])
async def test_an_outage_at_first_contact_is_not_a_wrong_key(tmp_path, models):
    """Such a server cannot list its models either; one that refuses the key there too can."""
    plain, there = answer(401, b"Authentication required"), answer(200, {"id": "b"})
    async with serving(plain, answer(models, b"no"), there, there) as server:
        ran = await run(tmp_path, server.base_url, None, code=ASK_ON)
        targets = [request.target for request in server.requests]
    assert targets[1] == "/v1/models"
    if models >= 500:
        assert ran.stdout.startswith("{'id': 'b'}")
    else:
        assert "with 401" in ran.stdout
        assert len(targets) == 2
