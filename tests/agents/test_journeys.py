"""Ten jobs, by tools, replies and `next` alone; no reply is larger than an agent should pay for."""

import pytest

from agents.driver import MOST_REPLY_BYTES
from agents.journeys import JOURNEYS, Place


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
async def test_an_agent_gets_the_right_table(tmp_path, monkeypatch, journey):
    place = Place(tmp_path / "work", tmp_path / "home")
    place.work.mkdir()
    monkeypatch.chdir(place.work)
    counted = await journey(place)
    assert counted.largest_bytes <= MOST_REPLY_BYTES
    assert counted.calls <= 30
