"""The table of faults and the tests of faults are the same list."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ABOUT_THE_TESTS = {
    "test_the_table_names_every_test_and_every_test_is_in_the_table",
    "test_an_undisturbed_run_does_what_it_should",
    "test_an_undisturbed_division_reaches_every_step",
    "test_an_undisturbed_cascade_asks_both_models_and_reaches_every_step",
    "test_an_undisturbed_run_reaches_every_step_there_is",
}


def every_test():
    for folder in ("crash", "faults"):
        for path in (TESTS / folder).glob("test_*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                if is_test and node.name.startswith("test_") and node.name not in ABOUT_THE_TESTS:
                    yield f"tests/{folder}/{path.name}::{node.name}"


def test_the_table_names_every_test_and_every_test_is_in_the_table():
    table = (TESTS / "ACCEPTANCE.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| .+ \| `(tests/\S+)` \|$", table, flags=re.MULTILINE)
    assert sorted(named) == sorted(every_test())
