"""The values of the corpus: every type, with those of its values that readers get wrong."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa


def moment(text):
    return dt.datetime.fromisoformat(text)


HOUR = dt.timedelta(hours=1)
TEXTS = {
    "letters": ["größe", "日本 😀 👩‍👩‍👧", "עברית ltr", "e\u0301 é", "\u200b\u00a0x"],
    "signs": [
        'a, "b"; c|d',
        "it's\ttabbed",
        "back\\slash\\n",
        "{{ braces }} {% x %}",
        "<b>&amp;</b>",
    ],
    "lines": ["one\ntwo", "crlf\r\nend", " leading and trailing ", "x\n\ny", "ends\n"],
    "numbers": ["007", "1e5", "1,5", "-0", "12345678901234567890"],
    "words": ["null", "NaN", "TRUE", "#N/A", "2024-02-29"],
    "gaps": ["x", None, "y", "", "z"],
    "formulas": ["=1+1", "+49 30 1", "-5", "@name", "'quoted"],
}
NUMBERS = {
    "whole": [0, -1, 7, 2**31, -(2**53)],
    "number": [0.1, -1.5e300, 3.0, 1e-7, 123456.789],
    "truth": [True, False, True, True, False],
    "gaps": [1, None, 3, None, 5],
}
TIMES = {
    "day": [
        dt.date(2024, 2, 29),
        dt.date(1900, 1, 1),
        dt.date(1970, 1, 1),
        dt.date(2099, 12, 31),
        dt.date(2000, 2, 29),
    ],
    "moment": [
        moment("2024-02-29 12:30:15"),
        moment("1999-12-31 23:59:59"),
        moment("2024-07-01 00:00:00"),
        moment("1969-12-31 23:59:59.250000"),
        None,
    ],
}
_MOMENTS = TIMES["moment"]
_DAYS = TIMES["day"]
ARROW = {
    "integers": {
        **{
            f"int{n}": (getattr(pa, f"int{n}")(), [0, -1, 2 ** (n - 1) - 1, -(2 ** (n - 1)), None])
            for n in (8, 16, 32, 64)
        },
        **{
            f"uint{n}": (getattr(pa, f"uint{n}")(), [0, 1, 2**n - 1, None, 7])
            for n in (8, 16, 32, 64)
        },
        "bool": (pa.bool_(), [True, False, None, True, False]),
        "null": (pa.null(), [None] * 5),
    },
    "floats": {
        "double": (pa.float64(), [0.1, -0.0, 1e-300, float("nan"), 2.0**60]),
        "float": (pa.float32(), [19.99, 0.1, 16777216.0, float("inf"), None]),
        "half": (pa.float16(), [0.1, 1.5, 65504.0, None, -2.0]),
    },
    "decimals": {
        "small": (
            pa.decimal128(9, 2),
            [Decimal("1.50"), Decimal("-0.01"), Decimal("0.00"), None, Decimal("9999999.99")],
        ),
        "large": (
            pa.decimal128(38, 10),
            [
                Decimal("1234567890123456789012345678.0123456789"),
                Decimal(0),
                None,
                Decimal("-0.0000000001"),
                Decimal(1),
            ],
        ),
        "whole": (
            pa.decimal128(18, 0),
            [Decimal(7), Decimal(-1), None, Decimal(10) ** 17, Decimal(0)],
        ),
    },
    "texts": {
        **{name: (pa.string(), values) for name, values in TEXTS.items()},
        "large": (pa.large_string(), TEXTS["letters"]),
        "category": (pa.dictionary(pa.int32(), pa.string()), ["a", "b", None, "a", "ü"]),
        "binary": (pa.binary(), [b"x", b"\0\xff", b"", None, "größe".encode()]),
        "fixed": (pa.binary(3), [b"abc", b"\0\0\0", None, b"xyz", b"\xff\xfe\xfd"]),
    },
    "times": {
        "date32": (pa.date32(), [*_DAYS[:4], dt.date(1, 1, 1)]),
        "date64": (pa.date64(), _DAYS),
        **{
            f"moment_{unit}": (pa.timestamp(unit), [*_MOMENTS[:3], None, moment("1900-01-01")])
            for unit in ("ms", "us", "ns")
        },
        "parts": (pa.timestamp("us"), [*_MOMENTS[:4], moment("2024-01-01 00:00:00.000001")]),
        "utc": (pa.timestamp("us", "UTC"), [*_MOMENTS[:3], None, _MOMENTS[3]]),
        "zoned": (pa.timestamp("us", "America/New_York"), [*_MOMENTS[:3], None, _MOMENTS[3]]),
        "time32": (
            pa.time32("ms"),
            [dt.time(0), dt.time(23, 59, 59), dt.time(12, 0, 0, 500_000), None, dt.time(1, 2, 3)],
        ),
        "time64": (
            pa.time64("us"),
            [dt.time(0), dt.time(23, 59, 59, 999_999), None, dt.time(12), dt.time(1, 2, 3, 4)],
        ),
        **{
            f"elapsed_{unit}": (pa.duration(unit), [30 * HOUR, -HOUR, 0 * HOUR, None, 1000 * HOUR])
            for unit in ("s", "ms", "us", "ns")
        },
        "elapsed_parts": (
            pa.duration("us"),
            [HOUR / 7, -HOUR / 7, HOUR / 3_600_000_000, None, HOUR],
        ),
    },
    "nested": {
        "list": (pa.list_(pa.float64()), [[0.5, None], [], None, [1.0], [float("nan")]]),
        "narrow": (pa.list_(pa.float32()), [[19.99, None], [], None, [0.1], [1e10]]),
        "fixed": (pa.list_(pa.int16(), 2), [[1, 2], [3, None], None, [0, 0], [-1, 1]]),
        "texts": (pa.list_(pa.string()), [["a", 'b "c"'], [""], None, ["日本"], ["x\ny", None]]),
        "struct": (
            pa.struct({"a": pa.date32(), "A": pa.float32(), "größe": pa.decimal128(9, 2)}),
            [
                {"a": _DAYS[0], "A": 0.1, "größe": Decimal("1.50")},
                None,
                {"a": None, "A": None, "größe": None},
            ]
            + [{"a": _DAYS[1], "A": 2.0, "größe": Decimal(0)}] * 2,
        ),
        "deep": (
            pa.list_(
                pa.struct(
                    {"on": pa.timestamp("ms", "Asia/Tokyo"), "of": pa.list_(pa.duration("ms"))}
                )
            ),
            [[{"on": _MOMENTS[0], "of": [HOUR, None]}], [], None, [{"on": None, "of": []}], [None]],
        ),
        "map": (
            pa.map_(pa.string(), pa.float32()),
            [[("k", 0.1)], [], None, [("a b", None)], [("ü", 2.0)]],
        ),
        "keys": (
            pa.map_(pa.int32(), pa.date32()),
            [[(1, _DAYS[0])], [], None, [(2, None)], [(-3, _DAYS[2])]],
        ),
    },
}
"""Groups of columns: Arrow type and five values."""


def arrow_table(group):
    return pa.table({name: pa.array(values, kind) for name, (kind, values) in ARROW[group].items()})
