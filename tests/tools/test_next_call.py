"""The next call of an error or a report, as an agent would write it."""

import ast
import json
import re
from pathlib import Path

import pytest

import doubleword_batch
from agent import agent
from doubleword_batch.errors import InputError, Next
from doubleword_batch.mcp_server.replies import as_call, error_reply

PACKAGE = Path(doubleword_batch.__file__).parent


def test_an_error_names_the_next_call_in_its_text_and_in_its_structure():
    error = InputError("There is no such job.", next=Next("list", {"kind": "jobs"}))
    result = error_reply(error)
    assert result.content[0].text.endswith('\nnext: list(kind="jobs")')
    assert result.structured_content["error"]["next"] == 'list(kind="jobs")'


def test_an_error_that_no_call_helps_has_no_next_call():
    result = error_reply(InputError("There is no such column."))
    assert "next" not in result.content[0].text
    assert "next" not in result.structured_content["error"]


@pytest.mark.parametrize(("message", "hint"), [(20, 3_000), (3_000, 20), (3_000, 3_000)])
def test_a_long_error_is_cut_where_it_is_long_and_keeps_the_rest(message, hint):
    error = InputError("m" * message, hint="h" * hint)
    result = error_reply(error)
    text, structured = result.content[0].text, result.structured_content["error"]
    assert len(text) + len(json.dumps(structured)) <= 2_100
    assert structured["message"].count("m") >= min(message, 200)
    assert structured["hint"].count("h") >= min(hint, 200)


def test_arguments_are_written_as_json():
    call = Next("retry_failed", {"job": 'a "b"', "causes": ["truncated"], "params": {"n": True}})
    assert as_call(call) == (
        r'retry_failed(job="a \"b\"", causes=["truncated"], params={"n": true})'
    )


async def test_a_reports_next_call_is_text_for_the_agent(settings, reviews):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", source=str(reviews), prompt="{{ text }}")
    call = f'create_batch(job="{created["job"]}", completion_window="24h")'
    assert created["next"] == call
    assert created.text.endswith(f"\nnext: {call}")


def messages(path):
    """The texts of a module that are not docstrings, with their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, documented)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text and text not in docstrings:
            yield node.lineno, text


def test_only_the_mcp_server_and_its_demo_speak_of_tools():
    call = re.compile(
        r"\b(create_batch_file|create_batch|get_status|fetch_results|retry_failed)\b"
        r"|\b(list|upload|cancel)\("
    )
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in {"mcp_server", "demo"}
        for line, text in messages(path)
        if call.search(text)
    ]
    assert found == []
