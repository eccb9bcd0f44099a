"""The skill's modules in the process of the tests; nothing is left in its folder."""

import importlib
import sys

from skill.places import SCRIPTS


def script_module(name):
    """The module `batchkit.NAME`, without the bytecode that an import would write beside it."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(f"batchkit.{name}")
    finally:
        sys.path.remove(str(SCRIPTS))
        sys.dont_write_bytecode = before
