"""Result lines as servers really write them, each with what it means.

The package and the skill's scripts read the same lines; both have to come to these outcomes.
"""

from result_lines import (
    chat,
    elsewhere,
    endpoints,
    errors,
    gateways,
    inside_others,
    lists_and_thoughts,
    odd_json,
    other_shapes,
    public_reports,
    variants,
)

CASES = (
    odd_json.CASES
    | chat.CASES
    | other_shapes.CASES
    | errors.CASES
    | public_reports.CASES
    | variants.CASES
    | gateways.CASES
    | elsewhere.CASES
    | endpoints.CASES
    | lists_and_thoughts.CASES
    | inside_others.CASES
)

"""By name. Every line is of the row `r1`."""

NO_RESULT_LINES = (
    b"",
    b" ",
    b"{",
    b"[1]",
    b"7",
    b"\xff",
    b"null",
    b'{"custom_id":null}',
    b'{"custom_id":"r1"',
    b'{"id":"r1"}',
    b"[" * 100_000,
)
"""Lines that are nobody's: cut, no JSON, or without a custom_id."""
