"""Packages of the extras: which are missing, and the line that installs them into this Python."""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

from doubleword_batch.errors import ConfigError, Next
from doubleword_batch.shell_words import join_words

_DISTRIBUTION = "doubleword-batch"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def is_installed(package: str) -> bool:
    """Whether a package could be imported by this name; it is not."""
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
    """The error for packages that are not installed, with the line that installs them here.

    Args:
        what: what needs them, as the beginning of a sentence.
        packages: names at the package index.
        otherwise: another way out, a sentence without its full stop.
        next: the call that goes that way.
    """
    several = len(packages) > 1
    needs = f"{'packages' if several else 'package'} {', '.join(packages)}"
    install = f"nstall {'them' if several else 'it'} with this line, then start again: "
    return ConfigError(
        f"{what} needs the {needs}, which {'are' if several else 'is'} not installed.",
        hint=(f"{otherwise}, or i" if otherwise else "I") + install + install_line(*packages),
        code="no_extra",
        next=next,
    )


def install_line(*packages: str) -> str:
    """The line for the shell that installs the packages into the Python that runs this.

    The packages themselves are named, in the versions that this one wants: no other distribution
    has to be looked up. Where this Python has no pip (environments made by uv), uv installs.
    """
    wanted = [_requirement(package) for package in packages]
    if is_installed("pip"):
        words = [sys.executable, "-m", "pip", "install", *wanted]
    else:
        words = ["uv", "pip", "install", "--python", sys.executable, *wanted]
    return join_words(words)


def _requirement(package: str) -> str:
    """The package with the versions that our own metadata ask for."""
    try:
        stated = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a folder that nobody installed
        stated = []
    for requirement in stated:
        specifier = requirement.partition(";")[0].replace(" ", "")
        found = _NAME.match(specifier)
        if found and _normal(found[0]) == _normal(package):
            return specifier
    return package


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
