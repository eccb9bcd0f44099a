"""Webhooks: what is believed, and what comes of it."""

import base64
import hashlib
import hmac
import json
import time

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch import ConfigError, Jobs, Settings, webhook
from doubleword_batch.settings import Secret
from doubleword_batch.webhook import build_app, is_signed

KEY = b"twenty-four-bytes-of-key"
SECRET = Secret("whsec_" + base64.b64encode(KEY).decode())
NOW = 1_800_000_000
FIVE_MINUTES = 300


def headers_for(body, *, key=KEY, at=NOW, identity="msg_1"):
    digest = hmac.new(key, f"{identity}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def test_the_example_of_the_published_scheme_is_believed():
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert is_signed(secret, headers, b'{"test": 2432232314}', now=1614265330)


@pytest.mark.parametrize("late", [0, FIVE_MINUTES, -FIVE_MINUTES])
def test_a_message_of_this_moment_is_believed(late):
    assert is_signed(SECRET, headers_for(b"{}"), b"{}", now=NOW + late)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "²"},
        {"webhook-timestamp": "9" * 5_000},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2," + "A" * 44},
        {"webhook-signature": "v1,«»"},
    ],
)
def test_anything_else_is_not(changed):
    assert not is_signed(SECRET, headers_for(b"{}") | changed, b"{}", now=NOW)


def test_an_old_copy_and_another_secret_are_not_believed():
    headers = headers_for(b"{}")
    assert not is_signed(SECRET, headers, b"{}", now=NOW + FIVE_MINUTES + 1)
    assert not is_signed(SECRET, headers, b"{}", now=NOW - FIVE_MINUTES - 1)
    assert not is_signed(SECRET, headers_for(b"{}", key=b"another"), b"{}", now=NOW)


def test_one_right_signature_among_several_is_enough():
    headers = headers_for(b"{}")
    headers["webhook-signature"] = "v1,AAAA " + headers["webhook-signature"]
    assert is_signed(SECRET, headers, b"{}", now=NOW)


@settings(max_examples=50)
@given(body=st.binary(max_size=50), other=st.binary(max_size=50))
def test_only_the_signed_body_is_believed(body, other):
    assert is_signed(SECRET, headers_for(body), other, now=NOW) == (body == other)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_not base64!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2La"]
)
def test_what_is_not_a_secret_is_said_at_the_start(text):
    with pytest.raises(ConfigError) as error:
        build_app(None, Secret(text))
    assert "WEBHOOK_SECRET" in str(error.value)
    assert len(text) < 8 or text not in str(error.value)


class Told:
    """Jobs that note which batch they were asked to look at."""

    def __init__(self, error=None):
        self.ids = []
        self._error = error

    async def look_at_batch(self, *ids):
        self.ids.append(ids)
        if self._error:
            raise self._error
        return True


async def sent(jobs, body, headers_of=None, **changed):
    app = build_app(jobs, SECRET)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://tunnel.example") as client:
        headers = headers_for(headers_of or body, at=int(time.time())) | changed
        return (await client.post("/any/path", content=body, headers=headers)).status_code


@pytest.mark.parametrize(
    ("event", "looked_at"),
    [
        ({"type": "batch.completed", "data": {"batch_id": "batch_7"}}, [("7", "batch_7")]),
        ({"type": "batch.failed", "data": {"batch_id": "7"}}, [("7", "7")]),
        ({"type": "batch.created", "data": {"batch_id": "7"}}, []),
        ({"type": "user.created"}, []),
    ],
)
async def test_a_batch_that_has_ended_is_looked_at(event, looked_at):
    jobs = Told()
    assert await sent(jobs, json.dumps(event).encode()) == 204
    assert jobs.ids == looked_at


@pytest.mark.parametrize(
    ("body", "changed", "status"),
    [
        (b"{}", {"webhook-id": "x"}, 401),
        (b"not json", {}, 400),
        (b"[" * 20_000, {}, 400),
        (b"x" * 100_000, {}, 413),
        (b'{"type": "batch.completed", "data": {"batch_id": ["7"]}}', {}, 400),
    ],
)
async def test_what_is_not_the_providers_or_no_event_is_refused(body, changed, status):
    jobs = Told()
    assert await sent(jobs, body, **changed) == status
    assert jobs.ids == []


async def test_a_body_that_never_comes_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(webhook, "_BODY_SECONDS", 0.05)

    async def body():
        yield b"{"
        await anyio.sleep_forever()

    jobs = Told()
    with anyio.fail_after(60):
        assert await sent(jobs, body(), headers_of=b"{}") == 408
    assert jobs.ids == []


async def test_the_provider_is_asked_to_call_again_where_it_could_not_be_asked():
    from doubleword_batch.errors import TransportError

    jobs = Told(TransportError("It is away.", may_have_happened=False))
    body = json.dumps({"type": "batch.completed", "data": {"batch_id": "7"}}).encode()
    assert await sent(jobs, body) == 503


async def test_the_job_of_the_batch_is_up_to_date_then(tmp_path):
    (tmp_path / "rows.csv").write_text("text\na\nb\n", encoding="utf-8")
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    async with Jobs(Settings.from_environment(environment)) as jobs:
        job = await jobs.create(tmp_path / "rows.csv", prompt="{{ text }}")
        (batch_id,) = (await job.submit()).batch_ids
        store = (await jobs.workspace()).store
        record = store.job_named(job.name)
        body = json.dumps({"type": "batch.completed", "data": {"batch_id": f"batch_{batch_id}"}})
        with anyio.fail_after(60):
            while not all(run.is_terminal for run in store.batch_runs(record.id)):
                assert await sent(jobs, body.encode()) == 204
                await anyio.sleep(0.05)
        other = json.dumps({"type": "batch.completed", "data": {"batch_id": "nobodys"}})
        assert await sent(jobs, other.encode()) == 204
