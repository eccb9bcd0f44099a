"""Where the skill lies, and its modules in the process of the tests."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SKILL = ROOT / "skill" / "doubleword-batch"
SCRIPTS = SKILL / "scripts"
REFERENCES = sorted((SKILL / "references").glob("*.md"))
DOCUMENTS = [SKILL / "SKILL.md", *REFERENCES]


def script_module(name):
    """The module `batchkit.NAME`, without the bytecode that an import would write beside it."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(f"batchkit.{name}")
    finally:
        sys.path.remove(str(SCRIPTS))
        sys.dont_write_bytecode = before
