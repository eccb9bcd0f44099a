"""Prices come from the provider where it tells them to a key, else from the dated table."""

import json
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from as_doubleword import as_doubleword
from doubleword_batch import BatchClient, Jobs, Settings
from doubleword_batch.jobs.prices import Prices, tariffs_in
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.providers import profile

MODEL, DATED_ONLY = "Qwen/Qwen3.5-4B", "Qwen/Qwen3.5-9B"
TODAY = datetime.now(UTC).date().isoformat()


def tariff(read="0.00000008", written="0.00000012", **more):
    fields = {"name": "batch", "api_key_purpose": "batch", "completion_window": "24h"}
    prices = {"input_price_per_token": read, "output_price_per_token": written}
    return {"valid_from": "2026-11-01T00:00:00Z", "valid_until": None} | fields | prices | more


@pytest.fixture
def new_jobs(tmp_path):
    """Opens jobs at a server that tells these tariffs to a platform key."""
    running = []

    def new(tariffs, *, again=False, **more):
        config = LocalConfig(
            home=tmp_path / f"server-{len(running)}", models=(MODEL, DATED_ONLY), tariffs=tariffs
        )
        server = running[-1] if again else LocalServer(config)
        if not again:
            server.start()
            running.append(server)
        management = server.base_url.removesuffix("/v1") + "/admin/api/v1"
        environment = {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            **as_doubleword(server),
            "DOUBLEWORD_PLATFORM_KEY": server.token,
            "DOUBLEWORD_PLATFORM_URL": management,
        }
        return Jobs(Settings.from_environment(environment | more))

    yield new
    for server in running:
        server.stop()


async def created(jobs, model=MODEL, **more):
    rows = [{"text": f"row {n}"} for n in range(100)]
    params = {"max_tokens": 1_000}
    return (
        await jobs.create(rows, prompt="{{ text }}", model=model, params=params, **more)
    ).created


async def test_a_platform_key_is_told_prices_that_hold_in_every_reply(new_jobs):
    told = {MODEL: [tariff(), tariff("0.0000002", "0.0000004", completion_window="1h")]}
    async with new_jobs(told) as jobs:
        made = await created(jobs)
        expected = (Decimal(made.input_tokens) * 8 + Decimal(made.output_tokens) * 12) / 10**8
        assert made.cost_usd == pytest.approx(expected)
        assert made.cost_note == f"by Doubleword's own prices of {TODAY}"
        day, hour = made.windows
        assert (day.completion_window, day.cost_usd) == ("24h", made.cost_usd)
        assert hour.cost_usd > 2 * day.cost_usd
        other = await created(jobs, DATED_ONLY)
        assert other.cost_note == "by prices of 2026-04-13, not live"
        lines = (await jobs.list("models")).lines
        assert f"{MODEL}: $0.08 in, $0.12 out a million tokens (24h, {TODAY})" in lines
        assert f"{DATED_ONLY}: $0.03 in, $0.29 out a million tokens (24h, 2026-04-13)" in lines


async def test_what_was_told_is_kept_with_its_date_and_not_asked_for_again(new_jobs, tmp_path):
    async with new_jobs({MODEL: [tariff()]}) as jobs:
        first = await created(jobs)
    kept = tmp_path / "home" / "prices.json"
    assert MODEL in json.loads(kept.read_text(encoding="utf-8"))["batch"]
    before = kept.read_bytes()
    ws_rows = [{"text": "another"}]
    async with new_jobs({MODEL: [tariff()]}) as jobs:
        # Another server: what the first one told is not its.
        again = (await jobs.create(ws_rows, prompt="{{ text }}", model=MODEL)).created
    assert again.cost_note == first.cost_note
    assert kept.read_bytes() != before


async def test_what_one_account_was_told_is_no_price_of_another(new_jobs, tmp_path):
    kept = tmp_path / "home" / "prices.json"
    async with new_jobs({MODEL: [tariff()]}) as jobs:
        own = await created(jobs)
    token = jobs.settings.platform_key.reveal()
    assert token not in kept.read_text(encoding="utf-8")
    rest = {"again": True, "DOUBLEWORD_PLATFORM_KEY": "of-another-account"}
    async with new_jobs({}, **rest) as jobs:
        other = await created(jobs, new_run=True)
    async with new_jobs({}, again=True) as jobs:
        back = await created(jobs, new_run=True)
    assert other.cost_note == "by prices of 2026-04-13, not live"
    assert back.cost_note == own.cost_note == f"by Doubleword's own prices of {TODAY}"


@pytest.mark.parametrize(
    ("read", "written", "words"),
    [
        ("0.000000004", "0.000000006", "10.0 times as high"),
        ("0.00000004", "0.00000005", "1.2 times as high"),
        ("0.0000000399", "0.00000006", "a little higher"),
    ],
    ids=["far below", "below", "a little below"],
)
async def test_a_price_below_the_dated_one_is_said(new_jobs, read, written, words):
    told = {MODEL: [tariff(read, written)]}
    async with new_jobs(told, DOUBLEWORD_BATCH_MAX_COST_USD="5") as jobs:
        made = await created(jobs)
    assert made.cost_note.endswith(f"; the price of 2026-04-13 is {words}")


async def test_a_platform_key_without_an_address_is_sent_to_nobody_else(tmp_path, monkeypatch):
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_API_KEY": "key",
        "DOUBLEWORD_BASE_URL": "http://127.0.0.1:9/ai/v1",
        "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
        "DOUBLEWORD_PLATFORM_KEY": "another-key",
    }
    opened = []
    enter = BatchClient.__aenter__

    async def counted(client):
        opened.append(client.base_url)
        return await enter(client)

    monkeypatch.setattr(BatchClient, "__aenter__", counted)
    for address in (environment["DOUBLEWORD_BASE_URL"], "https://api.doubleword.ai/v1"):
        settings = Settings.from_environment(environment | {"DOUBLEWORD_BASE_URL": address})
        async with Jobs(settings) as jobs:
            await jobs.workspace()
    assert opened == [
        "http://127.0.0.1:9/ai/v1",
        "https://api.doubleword.ai/v1",
        "https://app.doubleword.ai/admin/api/v1",
    ]


HOSTILE = {
    "negative": tariff(read="-0.00000004"),
    "huge": tariff(written="1e300"),
    "no number": tariff(read="NaN"),
    "endless": tariff(read="Infinity"),
    "text": tariff(read="cheap"),
    "zero": tariff(read="0", written="0"),
    "next to zero": tariff(read="1e-30"),
    "an object": tariff(read={"usd": 1}),
    "true": tariff(read=True),
    "a long text": tariff(read="0." + "0" * 5_000 + "1"),
    "no unit": {
        "api_key_purpose": "batch",
        "completion_window": "24h",
        "input_price": "0.00000004",
    },
    "no window": tariff(completion_window=None),
    "nobody's": tariff(api_key_purpose=None),
    "of the past": tariff(valid_until="2026-01-01T00:00:00Z"),
    "of the future": tariff(valid_from="2126-01-01T00:00:00Z"),
    "of no time": tariff(valid_from="soon"),
    "in another currency": tariff(currency="EUR"),
    "in no currency": tariff(currency=7),
    "of thousands of digits": tariff(read=10**5_000),
    "not active": tariff(is_active=False),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_a_price_is_not_taken(kind):
    reply = {"data": [{"alias": MODEL, "tariffs": [HOSTILE[kind]]}]}
    assert tariffs_in(reply, profile("doubleword")) == ({}, {})


def test_of_several_prices_for_the_same_the_dearest_counts():
    tariffs = [tariff("0.00000001", "0.00000009"), tariff("0.00000005", "0.00000002")]
    batch, _ = tariffs_in({"data": [{"id": "m", "tariffs": tariffs}]}, profile("doubleword"))
    assert batch == {"m": {"24h": (Decimal("0.05"), Decimal("0.09"))}}


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "tariffs",
                    "alias",
                    "id",
                    "pricing",
                    "input_price_per_token",
                    "output_price_per_token",
                    "api_key_purpose",
                    "completion_window",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@hypothesis_settings(max_examples=150)
@given(json_values)
def test_whatever_a_server_writes_only_positive_finite_prices_are_taken(value):
    for reply in (value, {"data": value}, {"data": [{"alias": "m", "tariffs": value}]}):
        batch, realtime = tariffs_in(reply, profile("doubleword"))
        pairs = [*realtime.values(), *(p for windows in batch.values() for p in windows.values())]
        assert all(0 < read <= 10_000 and 0 <= written <= 10_000 for read, written in pairs)


# The mark is that of no key and no salt.
SOUND = b"""{"server": "s", "mark": "b613679a", "asked_at": 1,
    "batch": {"m": {"24h": ["1", "2"]}}, "told_at": 1}"""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[" * 100_000,
        SOUND.replace(b'"1"', b'"-1"'),
        SOUND.replace(b'"1"', b'"NaN"'),
        SOUND.replace(b'"1", "2"', b'"0", "0"'),
        SOUND.replace(b'"s"', b'"other"'),
        SOUND.replace(b'"told_at": 1', b'"told_at": 1e300'),
        SOUND.replace(b"b613679a", b"b613679b"),
        SOUND.replace(b'"mark"', b'"salt": "no hex", "mark"'),
        SOUND.replace(b'"mark"', b'"salt": "01", "mark"'),
    ],
    ids=range(11),
)
def test_a_kept_file_that_cannot_be_prices_is_as_none(content, tmp_path):
    (tmp_path / "prices.json").write_bytes(content)
    hosted = profile("doubleword")
    prices = Prices(hosted, tmp_path, "s", (object(),))
    assert prices.over(hosted.prices) == hosted.prices


def test_a_kept_file_that_can_be_prices_is_taken(tmp_path):
    (tmp_path / "prices.json").write_bytes(SOUND)
    hosted = profile("doubleword")
    prices = Prices(hosted, tmp_path, "s", (object(),))
    assert prices.over(hosted.prices) != hosted.prices


class Slow(BaseHTTPRequestHandler):
    """Answers nothing until it is let go."""

    let_go = threading.Event()

    def do_GET(self):
        self.let_go.wait(60)
        self.close_connection = True

    def log_message(self, *_):
        pass


async def test_a_server_that_does_not_answer_costs_a_bounded_time_once(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_API_KEY": "key",
        "DOUBLEWORD_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
        "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
        "DOUBLEWORD_PLATFORM_KEY": "another-key",
        "DOUBLEWORD_PLATFORM_URL": f"http://127.0.0.1:{server.server_port}/admin",
    }
    try:
        async with Jobs(Settings.from_environment(environment)) as jobs:
            made = await created(jobs)
            assert made.cost_note == "by prices of 2026-04-13, not live"
            kept = json.loads((tmp_path / "home" / "prices.json").read_text(encoding="utf-8"))
            assert kept["has_failed"]
            asked_at = kept["asked_at"]
            await created(jobs, new_run=True)  # not asked again so soon
            kept = json.loads((tmp_path / "home" / "prices.json").read_text(encoding="utf-8"))
            assert kept["asked_at"] == asked_at
    finally:
        Slow.let_go.set()
        server.shutdown()
        server.server_close()


async def test_prices_are_asked_for_again_after_half_a_day(new_jobs):
    async with new_jobs({MODEL: [tariff()]}) as jobs:
        ws = await jobs.workspace()
        now = datetime.now(UTC)
        await ws.provider_prices.refresh(now.timestamp())
        assert ws.prices.told_on == now.date()
        later = now + timedelta(hours=13)
        await ws.provider_prices.refresh(later.timestamp())
        assert ws.prices.told_on == later.date()
