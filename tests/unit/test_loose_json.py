"""What comes out of the tolerant reader is JSON again, whatever went in."""

import pytest

from doubleword_batch.loose_json import decode


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("digits", [301, 400, 5000])
def test_a_whole_number_beyond_what_a_float_holds_becomes_its_text(sign, digits):
    number = sign + "9" * digits

    assert decode(f'{{"a": {number}}}') == {"a": number}
    assert decode(f'{{"a": "{number}"}}') == {"a": number}


def test_a_whole_number_that_a_float_holds_stays_one():
    assert decode(f"[{10**299}, -{10**299}, 12345678901234567890]") == [
        10**299,
        -(10**299),
        12345678901234567890,
    ]
