"""Fail where a type in the public interface is missing, or could be inferred differently.

pyright reads the installed package as a caller's type checker does. Public are the names of
`doubleword_batch` and what they own; run it in the project's environment.
"""

import json
import subprocess
import sys
from typing import Any

import doubleword_batch

_COMMAND = ("pyright", "--verifytypes", "doubleword_batch", "--ignoreexternal", "--outputjson")


def _public_names() -> tuple[str, ...]:
    """The full names of what `dir(doubleword_batch)` shows, where they are defined."""
    objects = {name: getattr(doubleword_batch, name) for name in dir(doubleword_batch)}
    return tuple(f"{getattr(value, '__module__', '')}.{name}" for name, value in objects.items())


def main() -> int:
    """Print what is incomplete; the exit code is 1 if anything is."""
    ended = subprocess.run(  # noqa: S603  # our own words
        _COMMAND, capture_output=True, text=True, check=False, timeout=300
    )
    symbols: list[dict[str, Any]] = json.loads(ended.stdout)["typeCompleteness"]["symbols"]
    public = _public_names()
    members = tuple(f"{name}." for name in public)
    checked = [s for s in symbols if s["name"] in public or s["name"].startswith(members)]
    incomplete = [symbol for symbol in checked if not symbol["isTypeKnown"]]
    for symbol in incomplete:
        told = [line["message"].replace("\n", " ") for line in symbol["diagnostics"]]
        print(symbol["name"], *told, sep="\n  ")
    print(f"{len(checked)} public symbols, {len(incomplete)} of them without a complete type")
    return 0 if checked and not incomplete else 1


if __name__ == "__main__":
    sys.exit(main())
