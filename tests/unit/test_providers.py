"""What a provider takes, and what every provider of this shape takes."""

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.providers import PriceTable, check_metadata, profile

NAMES = ("doubleword", "openai", "local", "generic")


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_takes_endpoints_and_windows_of_its_own_and_no_other(name):
    known = profile(name)
    for endpoint in known.endpoints:
        known.check_endpoint(endpoint)
    for window in known.windows:
        known.check_window(window)
    assert set(known.endpoints) <= set(ENDPOINTS)
    with pytest.raises(InputError, match="/v1/moderations") as refused:
        known.check_endpoint("/v1/moderations")
    assert refused.value.code == "invalid_argument"
    assert ENDPOINTS[0] in refused.value.hint


def test_a_window_that_is_not_known_is_refused_except_where_others_may_exist():
    with pytest.raises(InputError, match="7d") as refused:
        profile("openai").check_window("7d")
    assert "24h" in refused.value.hint
    profile("generic").check_window("7d")


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({f"key-{n}": "x" for n in range(17)}, "17 pairs"),
        ({"k" * 65: "x"}, "kkk"),
        ({"key": "x" * 513}, "too long at «key»"),
        ({"dwb_job": "x"}, "reserved keys: «dwb_job»"),
        ({f"key-{n}": "x" for n in range(13)}, "13 pairs"),
    ],
)
def test_metadata_beyond_the_limits_is_refused_with_what_is_wrong(metadata, named):
    with pytest.raises(InputError, match=named) as refused:
        check_metadata(metadata, reserved_pairs=4, reserved_prefix="dwb_")
    assert refused.value.code == "invalid_argument"
    assert "at most 12 pairs" in refused.value.hint


def test_metadata_within_the_limits_is_taken():
    check_metadata({f"key-{n}": "x" * 512 for n in range(16)})
    check_metadata({"dwb_job": "x", "k" * 64: ""})


def test_a_provider_is_named_as_a_sentence_needs_it():
    local = profile("local")
    assert (local.called, local.title_first) == (
        "the local batch server",
        "The local batch server",
    )
    assert (profile("openai").called, profile("openai").title_first) == ("OpenAI", "OpenAI")
    with pytest.raises(InputError, match=r"^The OpenAI-compatible server runs no batches"):
        profile("generic").check_endpoint("/v1/audio")


@pytest.mark.parametrize(
    ("told", "named"),
    [("24h", "24h"), ("1d", "24h"), ("1 Day", "24h"), ("24 hours", "24h"), ("1440 min", "24h")],
)
def test_a_window_that_is_spelled_otherwise_is_named_as_the_profile_names_it(told, named):
    assert profile("openai").normalize_window(told) == named


@pytest.mark.parametrize("told", ["soon", "1 month", "24 hands", "24", ""])
def test_a_window_that_is_no_length_of_time_is_refused_and_not_guessed(told):
    doubleword = profile("doubleword")
    assert doubleword.normalize_window(told) == told
    with pytest.raises(InputError, match="There is no completion window") as refused:
        doubleword.check_window(doubleword.normalize_window(told))
    assert "24h, 1h" in refused.value.hint


def test_a_price_is_that_of_its_window_alone_however_it_is_spelled():
    prices = PriceTable.model_validate(
        {
            "date": "2026-11-01",
            "source": "a test",
            "models": {"m": {"1m": (1, 2), "24h": (3, 4), "2w": (5, 6), "anytime": (7, 8)}},
        }
    )
    spelled = ("1 minute", "1d", "14 days", "anytime", "1 month", "soon")
    found = [prices.price("m", window) for window in spelled]
    assert found == [(1, 2), (3, 4), (5, 6), (7, 8), None, None]
