"""The cap that a program gives: an amount, or a refusal in words before anything is built."""

import pytest

from doubleword_batch import InputError, Jobs, Settings


async def build(jobs, cap):
    await jobs.create([{"a": 1}], prompt="{{ a }}", model="m", max_cost_usd=cap)


async def submit(jobs, cap):
    await jobs.job("any").submit(max_cost_usd=cap)


@pytest.mark.parametrize("cap", ["", " ", "two", float("nan"), float("inf"), -0.01, True, [2]])
@pytest.mark.parametrize("step", [build, submit])
async def test_what_is_no_amount_is_refused_and_no_cap_vanishes(tmp_path, cap, step):
    home = {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"), "DOUBLEWORD_API_KEY": "none"}
    async with Jobs(Settings.from_environment(home)) as jobs:
        with pytest.raises(InputError, match="max_cost_usd must be a number of US dollars"):
            await step(jobs, cap)
