"""Amounts of money as every door writes them: never zero for what is not free."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch.cli import show
from doubleword_batch.console import render
from doubleword_batch.jobs.replies import Submitted, small_usd, usd_text

AMOUNTS = st.decimals("1E-9", "1E6", allow_nan=False, allow_infinity=False)


def written(usd):
    """The amount in a reply, in a list, in a terminal and in the console."""
    return (
        Submitted.model_construct(cost_usd=usd).model_dump()["cost_usd"],
        usd_text(usd).lstrip("$"),
        show.cost(usd, "").partition("$")[2].split(" ")[0].strip(),
        render.usd(usd).lstrip("$").replace(",", ""),
    )


@given(AMOUNTS)
def test_what_costs_something_is_nowhere_written_as_nothing(usd):
    for text in written(usd):
        assert Decimal(text) > 0
        assert abs(Decimal(text) - usd) <= max(usd / 10, Decimal("0.0001"))


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("0", "0.0000"),
        ("0.0130", "0.0130"),
        ("0.00004", "0.000040"),
        ("0.0000000000001", "0.0000000001"),
    ],
)
def test_an_amount_has_four_decimals_or_two_digits_that_count(usd, text):
    assert small_usd(Decimal(usd)) == text
    assert small_usd(-Decimal(usd)).lstrip("-") == text
