"""Every error code that the package can give, read from its source."""

import ast
from functools import cache
from pathlib import Path

import doubleword_batch

_NAMES = {"code", "default_code"}


@cache
def codes_of_the_package():
    """The literal codes: `code="..."` and `default_code = "..."`."""
    root = Path(doubleword_batch.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[:2] == ("local", "api"):
            continue  # what the local server says is an API's answer, not an error of ours
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found |= set(_codes_in(node))
    return frozenset(found)


def _codes_in(node):
    if isinstance(node, ast.keyword) and node.arg == "code":
        yield from _texts(node.value)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _assigned(target, node.value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield from _assigned(node.target, node.value)


def _assigned(target, value):
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for element, its_value in zip(target.elts, value.elts, strict=False):
            yield from _assigned(element, its_value)
    elif isinstance(target, ast.Name) and target.id in _NAMES:
        yield from _texts(value)


def _texts(value):
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)
