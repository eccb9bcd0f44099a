"""The names of the library: all there, all of them load, and importing them loads little."""

import inspect
import re
import subprocess
import sys

import pytest

import doubleword_batch


def test_the_names_of_the_library_are_what_dir_shows_and_all_of_them_load():
    assert dir(doubleword_batch) == sorted(doubleword_batch.__all__)
    for name in doubleword_batch.__all__:
        assert getattr(doubleword_batch, name) is not None, name
    with pytest.raises(AttributeError, match="nope"):
        _ = doubleword_batch.nope


def test_every_error_and_every_reply_is_importable_from_the_root():
    from doubleword_batch import errors
    from doubleword_batch.jobs import replies

    public = {
        name
        for module in (errors, replies)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
    }
    assert public - set(doubleword_batch.__all__) == {"ErrorFields", "Reply"}


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, doubleword_batch; "
        "print([m for m in ('httpx', 'pydantic', 'mcp', 'anyio', 'sqlite3') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_every_type_in_a_public_signature_of_ours_is_importable_from_the_root():
    """Those of the SDK, of pydantic and of the standard library are theirs to document."""
    internal = {
        "CallResponse", "ClientState", "ErrorFields", "Executor", "KeyAndAddress",
        "LazyWorkspace", "Workspace",
    }  # fmt: skip
    ours = {
        name
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("doubleword_batch.")
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith("doubleword_batch.")
    }
    named = set()
    for name in doubleword_batch.__all__:
        public = getattr(doubleword_batch, name)
        members = vars(public).items() if inspect.isclass(public) else [("run", public)]
        for member, value in members:
            if member == "__init__" or (callable(value) and not member.startswith("_")):
                for annotation in getattr(value, "__annotations__", {}).values():
                    named |= set(re.findall(r"\w+", str(annotation)))
    assert (named & ours) - internal <= set(doubleword_batch.__all__)


def test_the_names_can_be_looked_at_where_openai_is_not_installed():
    program = (
        "import sys; sys.modules['openai'] = None\n"
        "import inspect, pydoc, doubleword_batch\n"
        "from doubleword_batch import *\n"
        "inspect.getmembers(doubleword_batch)\n"
        "assert 'class Jobs(' in pydoc.plain(pydoc.render_doc(doubleword_batch))\n"
        "try: doubleword_batch.BatchOpenAI(api_key='x')\n"
        "except ConfigError as error: print(error.code, error.message)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.startswith("no_extra BatchOpenAI needs the package openai"), ended.stderr
