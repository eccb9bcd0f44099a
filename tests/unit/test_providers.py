"""What a provider takes, and what every provider of this shape takes."""

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.providers import check_metadata, profile

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
    assert (local.called, local.called_first) == (
        "the local batch server",
        "The local batch server",
    )
    assert (profile("openai").called, profile("openai").called_first) == ("OpenAI", "OpenAI")
    with pytest.raises(InputError, match=r"^The OpenAI-compatible server runs no batches"):
        profile("generic").check_endpoint("/v1/audio")


@pytest.mark.parametrize(("told", "named"), [("1d", "24h"), ("24h", "24h"), ("soon", "soon")])
def test_a_window_that_a_server_spells_otherwise_is_named_as_the_profile_names_it(told, named):
    assert profile("openai").window_named(told) == named
