"""Every member of the openai SDK that is used and is not public is where it is expected."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import openai
import pytest

import doubleword_batch.batch_openai
from doubleword_batch.batch_openai.sdk_internals import NON_PUBLIC

SOURCES = Path(doubleword_batch.batch_openai.__file__).parent


def found(path):
    """Whether the installed SDK has the member of that path."""
    first, _, member = path.rpartition(".")
    client = openai.AsyncOpenAI(api_key="k")
    if "(" in member:
        method, argument = member.removesuffix(")").split("(")
        return argument in inspect.signature(getattr(client, method)).parameters
    if first == "AsyncCompletions":
        return hasattr(client.chat.completions, member)
    return hasattr(client if first == "AsyncOpenAI" else import_module(first), member)


@pytest.mark.parametrize("path", NON_PUBLIC)
def test_the_sdk_still_has_the_member(path):
    assert found(path), f"openai {openai.__version__} has moved {path}: {NON_PUBLIC[path]}"


def test_the_list_names_all_that_is_used():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {
        f"{node.module}.{name.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openai._")
        for name in node.names
    }
    read = {
        f"AsyncOpenAI.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and node.attr.startswith("_")
        if isinstance(node.value, ast.Name) and node.value.id == "client"
    }
    assert imported == {path for path in NON_PUBLIC if path.startswith("openai._")}
    assert read == {path for path in NON_PUBLIC if path.startswith("AsyncOpenAI._")}
