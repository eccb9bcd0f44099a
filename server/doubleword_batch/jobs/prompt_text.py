"""A prompt as it was given: its text, or the file that holds it."""

import re
from pathlib import Path

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.open_files import open_regular
from doubleword_batch.paths import Roots
from doubleword_batch.saved_text import MARK, decode_saved

_LONGEST_PATH = 500
_LARGEST_BYTES = 10 << 20
_TEMPLATE_FILE = re.compile(r"\.(txt|md|markdown|j2|jinja2?|prompt|tmpl|tpl)", re.IGNORECASE)


def prompt_text(given: str, roots: Roots) -> tuple[str, Path | None]:
    """The text of a prompt, and the file that it was read from.

    `@FILE` is read, and so is a bare path to a text file; `@@` stands for a leading `@`. What has
    braces or several lines is the prompt itself.

    Raises:
        InputError: it names a file that is not there, may not be read, or is not UTF-8.
    """
    given = given.removeprefix(MARK)  # a shell passes it on
    if given.startswith("@@"):
        return given[1:], None
    if not _is_path(given.strip()):
        return given, None
    path = roots.readable_file(given.strip().removeprefix("@"))
    return _read(path), path


def _is_path(text: str) -> bool:
    if len(text) > _LONGEST_PATH or not text.isprintable() or "{" in text:
        return False
    has_suffix = _TEMPLATE_FILE.fullmatch(Path(text).suffix) is not None
    is_one_word = " " not in text
    if text.startswith("@"):
        return len(text) > 1 and (is_one_word or has_suffix)
    return is_one_word and has_suffix


def _read(path: Path) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST_BYTES + 1)
        text = decode_saved(content)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The prompt's file {quote_untrusted(path.name)} cannot be read as UTF-8 text: "
            f"{getattr(error, 'strerror', None) or error}.",
            hint="Give a text file, or the prompt itself.",
            code="not_readable",
        ) from None
    if len(content) > _LARGEST_BYTES:
        raise InputError(
            f"The prompt's file {quote_untrusted(path.name)} is too large.",
            hint=f"At most {_LARGEST_BYTES:,} bytes are read.",
            code="not_readable",
        )
    return text.removesuffix("\n")
