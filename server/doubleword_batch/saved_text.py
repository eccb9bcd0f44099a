"""Decodes texts that people save in an editor or pass through a pipe: prompts and schemas.

Windows editors put a byte order mark first, and Windows shells write UTF-16; the mark says so.
Nothing is guessed: without a mark, the text is UTF-8.
"""

import codecs

MARK = "\ufeff"

_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode_saved(content: bytes) -> str:
    """The text without its byte order mark; line ends become line feeds.

    Raises:
        UnicodeDecodeError: it does not match its mark, or has none and is not UTF-8.
    """
    encodings = (name for mark, name in _ENCODINGS.items() if content.startswith(mark))
    text = content.decode(next(encodings, "utf-8"))
    return text.replace("\r\n", "\n").replace("\r", "\n")
