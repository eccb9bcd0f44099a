"""Numbers of 16 and 32 bits with the fewest digits that tell each from its neighbours: 19.99."""

import math
import struct
from typing import Literal, NamedTuple


class _Form(NamedTuple):
    """Of numbers of one width.

    Attributes:
        layout: how `struct` packs them.
        always_held: so many digits survive, whatever they are: fewer need not be tried.
        always_enough: digits that tell every number from its neighbours.
        smallest_normal: a number below it holds fewer digits.
        aside: takes a power of two, times this, into the wider gap between it and its neighbours,
            which lies away from zero.
    """

    layout: struct.Struct
    always_held: int
    always_enough: int
    smallest_normal: float
    aside: float


_FORMS = {
    16: _Form(struct.Struct("<e"), 3, 5, 2.0**-14, 1 + 2.0**-13),
    32: _Form(struct.Struct("<f"), 6, 9, 2.0**-126, 1 + 2.0**-26),
}


def shortest(number: float, bits: Literal[16, 32]) -> float:
    """The number of 64 bits with the fewest digits that rounds to this narrow one.

    Args:
        number: one that `bits` bits hold exactly; NaN and infinity stay.
        bits: of the narrow number.
    """
    if not math.isfinite(number):
        return number
    layout, held, enough, smallest_normal, aside = _FORMS[bits]
    packed = layout.pack(number)
    is_power_of_two = abs(math.frexp(number)[0]) == 0.5  # noqa: PLR2004
    for digits in range(held if abs(number) >= smallest_normal else 1, enough):
        for value in (number, number * aside) if is_power_of_two else (number,):
            rounded = float(f"{value:.{digits}g}")
            try:
                if layout.pack(rounded) == packed:
                    return rounded
            except OverflowError:  # rounded up beyond the largest
                continue
    return float(f"{number:.{enough}g}")
