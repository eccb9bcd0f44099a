"""Whether an https address leads to the public internet, judged by its text alone.

An image's address is fetched by the server that answers the request, perhaps on this machine or in
a company's network. A row must not make it call services there, whose names and numbers can be
written in many ways: every spelling that URL parsers accept is read here as they read it. What a
public name resolves to only DNS knows, and the server that fetches it.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchkit.cli import quoted
from batchkit.plain_text import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_LABEL = re.compile(r"[\w-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_FOUR_NUMBERS = re.compile(
    r"(?<![0-9])([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})"
)
_INNER = frozenset(
    {
        *("localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home"),
        *("lan", "arpa", "onion", "consul", "kubernetes", "svc", "cluster", "test", "invalid"),
    }
)
_NAMES_OF_NUMBERS = ("nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me")
_OF_CLOUDS = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))
_MOST_LABELS = 4


def why_not_public(url: str) -> str | None:
    """What is wrong with an address, to follow "which"; None for a public one."""
    if not is_plain(url) or any(c.isspace() or c in '\\<>"`{}|^' for c in url):
        return "has a blank, a line break or another character that addresses cannot have"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not an address"
    if parts.scheme != "https" or not host or port == 0:
        return "is not an https URL"
    if "@" in parts.netloc:
        return "contains a user name or a password"
    if _is_inner(host):
        return "does not lead to a public server"
    return None


def _is_inner(host: str) -> bool:
    if ":" in host:
        return not _is_public(host)
    labels = _DOTS.split(unicodedata.normalize("NFKC", host).lower())
    if labels[-1] == "":
        labels.pop()
    if not all(_LABEL.fullmatch(label) for label in labels) or not labels:
        return True
    if _NUMBER.fullmatch(labels[-1]):
        number = _number_of(labels)
        return number is None or not _is_public(number)
    name = ".".join(labels)
    written_in_it = (".".join(found) for found in _FOUR_NUMBERS.findall(name))
    return (
        len(labels) == 1
        or labels[-1] in _INNER
        or any(name == known or name.endswith(f".{known}") for known in _NAMES_OF_NUMBERS)
        or any(not _is_public(number) for number in written_in_it)
    )


def _number_of(labels: list[str]) -> str | None:
    """The IPv4 address written as one to four numbers, each decimal, octal or hexadecimal."""
    if len(labels) > _MOST_LABELS:
        return None
    try:
        *first, last = (_value(label) for label in labels)
        if any(number > 255 for number in first):  # noqa: PLR2004  # a byte
            return None
        shift = 8 * (_MOST_LABELS - len(first))
        if last >= 1 << shift:
            return None
        return str(IPv4Address(int.from_bytes(bytes(first)) << shift | last))
    except ValueError:
        return None


def _value(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if label.startswith("0") else int(label)


def _is_public(number: str) -> bool:
    try:
        address = ip_address(number)
    except ValueError:
        return False
    inner = address.sixtofour or address.teredo if isinstance(address, IPv6Address) else None
    special = address.is_reserved or address.is_multicast or address.is_private
    return (
        address.is_global
        and not special
        and inner is None
        and not any(address in net for net in _OF_CLOUDS)
    )


# Media in a ready request: given as a data: URI or by a public address. Only the fields in which
# servers look for media are checked; text that is only quoted, such as a tool's arguments, is not
# fetched by anyone.

MEDIA = frozenset(
    {
        *("image_url", "video_url", "audio_url", "file_url", "document_url", "input_image"),
        *("input_audio", "input_video", "input_file", "image", "audio", "video", "file", "source"),
    }
)
_ADDRESSES = frozenset({"url", "uri", "data", "file_data", "path"})
_ASKED = ("messages", "input", "prompt")
_QUOTED = ("tool_use", "function_call", "custom_tool_call")
_SHOWN = 100
_DATA = re.compile("data:", re.IGNORECASE)


def media_fault(body: dict[str, Any]) -> str | None:
    """What is wrong with the first address in a request that is not public, or None."""
    for place, address in _addresses([body.get(name) for name in _ASKED]):
        wrong = why_not_public(address)
        if wrong is not None:
            return f"{place} is {quoted(address, _SHOWN)}, which {wrong}."
    return None


def _addresses(content: Any) -> Iterator[tuple[str, str]]:
    """(place, address) of everything that will be fetched."""
    waiting = [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += reversed(node)
        if not isinstance(node, dict):
            continue
        for name, value in node.items():
            if name in MEDIA:
                yield from _of(name, value)
        if node.get("type") not in _QUOTED:
            waiting += reversed(node.values())


def _of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and name != "source" and _is_address(name, value):
        yield name, value
    elif isinstance(value, dict):
        for inner, text in value.items():
            if inner in _ADDRESSES and isinstance(text, str) and _is_address(inner, text):
                yield f"{name}.{inner}", text


def _is_address(name: str, text: str) -> bool:
    """Whether a text is an address rather than the content, since base64 has no ":"."""
    if _DATA.match(text.lstrip()):
        return False
    return ":" in text or name.endswith(("url", "uri", "path"))
