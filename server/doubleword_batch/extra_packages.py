"""Packages of the extras: which are missing, and the command that installs them here."""

import platform
import re
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

from doubleword_batch.errors import ConfigError, Next
from doubleword_batch.shell_words import join_words

_DISTRIBUTION = "doubleword-batch"
_NAME = re.compile(r"[A-Za-z0-9._-]+")

NO_WHEELS: Mapping[str, frozenset[str]] = {
    "Windows on arm64": frozenset({"xllamacpp"}),
    "Intel Macs from Python 3.14 on": frozenset({"onnxruntime"}),
    "Linux with musl": frozenset({"duckdb", "onnxruntime", "xllamacpp"}),
}
"""Packages of the extras that have no wheel, and for which platforms."""

_NO_MODEL = "set a key, or DOUBLEWORD_BATCH_LOCAL_URL to an OpenAI-compatible server such as Ollama"
_INSTEAD = {
    "duckdb": "use CSV or JSON Lines in place of Parquet",
    "onnxruntime": _NO_MODEL,
    "xllamacpp": _NO_MODEL,
}


def is_installed(package: str) -> bool:
    """Whether a package of this name can be imported; does not import it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # a parent package is missing
        return False


def missing_extra(
    what: str,
    *packages: str,
    otherwise: str = "",
    next: Next | None = None,  # noqa: A002  # as every error has it
) -> ConfigError:
    """The error for packages that are not installed, with the command that installs them here.

    Args:
        what: what needs them, to begin the message with.
        packages: their names at the package index.
        otherwise: an alternative, as a sentence without its full stop.
        next: the call for that alternative.
    """
    several = len(packages) > 1
    if (sentence := no_wheel(*packages)) is not None:
        hint = sentence
    else:
        how = f"nstall {'them' if several else 'it'} with this line, then start again: "
        hint = (f"{otherwise}, or i" if otherwise else "I") + how + install_line(*packages)
    needs = f"{'packages' if several else 'package'} {', '.join(packages)}"
    return ConfigError(
        f"{what} needs the {needs}, which {'are' if several else 'is'} not installed.",
        hint=hint,
        code="no_extra",
        next=next,
    )


def no_wheel(*packages: str) -> str | None:
    """What to do if a package has no wheel for this Python; None if all have one."""
    here = _place_without_wheels()
    lacking = sorted(NO_WHEELS[here].intersection(packages)) if here else []
    if not lacking:
        return None
    return (
        f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no wheel for {here}: "
        f"{_INSTEAD[lacking[0]]}."
    )


def install_line(*packages: str) -> str:
    """The shell command that installs the packages into the running Python.

    It names the packages in the versions that this one needs, so no other distribution has to be
    looked up. If this Python has no pip (as in environments made by uv), uv installs. Nothing is
    compiled: where there is no wheel, the command fails and says so.
    """
    wanted = ["--only-binary=:all:", *(_requirement(package) for package in packages)]
    if is_installed("pip"):
        words = [sys.executable, "-m", "pip", "install", *wanted]
    else:
        words = ["uv", "pip", "install", "--python", sys.executable, *wanted]
    return join_words(words)


def _place_without_wheels() -> str | None:
    """Which of the platforms in `NO_WHEELS` this is."""
    build = sysconfig.get_platform()
    if build == "win-arm64":
        return "Windows on arm64"
    if build.startswith("macosx") and platform.machine() == "x86_64":
        return "Intel Macs from Python 3.14 on" if sys.version_info >= (3, 14) else None
    is_musl = "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE"))
    return "Linux with musl" if is_musl else None


def _requirement(package: str) -> str:
    """The package with the versions that our own metadata requires."""
    try:
        stated = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a source folder without installation
        stated = []
    for requirement in stated:
        specifier = requirement.partition(";")[0].replace(" ", "")
        found = _NAME.match(specifier)
        if found and _normal(found[0]) == _normal(package):
            return specifier
    return package


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
