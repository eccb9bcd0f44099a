"""Files of results as servers really keep them, whatever stands between the lines.

The package and the skill's scripts read the same files; both have to come to the same outcomes.
Each makes the bytes of a file from its lines.
"""

import codecs
import gzip
import io
import json
import zipfile
import zlib


def _plain(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def _printed(value):
    return json.dumps(value, indent=2).encode()


def _objects(lines):
    return [json.loads(line) for line in lines]


def _zipped(*files, **options):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for number, content in enumerate(files):
            archive.writestr(f"out-{number}.jsonl", content)
    return packed.getvalue()


class _Pipe(io.RawIOBase):
    """What cannot be sought in: sizes come behind the members then."""

    def __init__(self):
        self.written = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.written += data
        return len(data)


def _zipped_to_a_pipe(lines):
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("out.jsonl", _plain(lines))
    return bytes(pipe.written)


def _stored(lines):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("out.jsonl", _plain(lines))
    return packed.getvalue()


def _page(name, **fields):
    return lambda lines: json.dumps(fields | {name: _objects(lines)}).encode()


def _named(lines):
    results = _objects(lines)
    return {result.pop("custom_id"): result for result in results}


LAYOUTS = {
    "lines": _plain,
    "lines without the last break": lambda lines: "\n".join(lines).encode(),
    "lines that end with CR and LF": lambda lines: "\r\n".join(lines).encode(),
    "lines that end with CR": lambda lines: "\r".join(lines).encode(),
    "lines without breaks between them": lambda lines: "".join(lines).encode(),
    "lines with commas behind them": lambda lines: ",\n".join(lines).encode(),
    "two lines joined among others": lambda lines: (
        "\n".join(lines[:4]) + "\n" + "".join(lines[4:6]) + "\n" + "\n".join(lines[6:])
    ).encode(),
    "a list on a line": lambda lines: f"[{','.join(lines)}]".encode(),
    "a list of lines": lambda lines: ("[\n" + ",\n".join(lines) + "\n]\n").encode(),
    "a list printed over many lines": lambda lines: _printed(_objects(lines)),
    "objects printed over many lines": lambda lines: b"\n".join(map(_printed, _objects(lines))),
    "events": lambda lines: "".join(f"data: {line}\n\n" for line in lines).encode(),
    "lines with a mark in front": lambda lines: "".join(f"\x1e{line}\n" for line in lines).encode(),
    "a page": _page("data", object="list", first_id="a"),
    "a page of results": _page("results"),
    "a page in a page": lambda lines: _page("data")([_page("responses")(lines).decode()]),
    "a page in an object": lambda lines: json.dumps({"data": {"items": _objects(lines)}}).encode(),
    "a page printed over many lines": lambda lines: _printed({"data": _objects(lines)}),
    "pages, one a line": lambda lines: b"\n".join(_page("data")([line]) for line in lines),
    "a list of texts": lambda lines: json.dumps(lines).encode(),
    "a list of texts, printed": lambda lines: _printed([f"{line}\n" for line in lines]),
    "texts on lines": lambda lines: "\n".join(json.dumps(line) for line in lines).encode(),
    "texts in UTF-8": lambda lines: json.dumps(lines, ensure_ascii=False).encode(),
    "a page of texts": lambda lines: json.dumps({"object": "list", "data": lines}).encode(),
    "by custom_id": lambda lines: json.dumps(_named(lines)).encode(),
    "by custom_id, printed": lambda lines: _printed(_named(lines)),
    "by custom_id, which they have too": lambda lines: json.dumps(
        {name: {"id": name, "custom_id": name, **result} for name, result in _named(lines).items()}
    ).encode(),
    "by custom_id, in a page": lambda lines: _printed(
        {"object": "list", "total": 10, "results": _named(lines)}
    ),
    "by custom_id, one a line": lambda lines: b"\n".join(
        json.dumps(_named([line])).encode() for line in lines
    ),
    "lines behind a mark of UTF-8": lambda lines: codecs.BOM_UTF8 + _plain(lines),
    "UTF-16 with a mark": lambda lines: _plain(lines).decode().encode("utf-16"),
    "UTF-16 without a mark": lambda lines: _plain(lines).decode().encode("utf-16-le"),
    "UTF-16, big end first": lambda lines: _plain(lines).decode().encode("utf-16-be"),
    "UTF-32": lambda lines: _plain(lines).decode().encode("utf-32"),
    "packed with gzip": lambda lines: gzip.compress(_plain(lines)),
    "packed with gzip in two members": lambda lines: (
        gzip.compress(_plain(lines[:5])) + gzip.compress(_plain(lines[5:]))
    ),
    "packed with zlib": lambda lines: zlib.compress(_plain(lines)),
    "packed with zip": lambda lines: _zipped(_plain(lines)),
    "packed with zip, in a stream": _zipped_to_a_pipe,
    "packed with zip, but not made smaller": _stored,
    "packed with zip, in two files": lambda lines: _zipped(_plain(lines[:5]), _plain(lines[5:])),
    "packed with gzip, a list in UTF-16": lambda lines: gzip.compress(
        f"[{','.join(lines)}]".encode("utf-16")
    ),
}
"""By name: what makes a file of lines, each of which is a JSON text without a line break."""

NOT_READ = {
    "Zstandard": (b"\x28\xb5\x2f\xfd" + b"\x04\x00" * 40, "packed with Zstandard"),
    "bzip2": (b"BZh91AY&SY" + b"\x04\x00" * 40, "packed with bzip2"),
    "Parquet": (b"PAR1" + b"\x15\x04" * 40, "a Parquet file"),
    "another zip": (b"PK\x03\x04\x14\0\1\0\x0c\0" + b"\0" * 80, "encrypted or unusual"),
    "words": (b"the results\nlie somewhere else\n" * 5, "no line that can be read"),
    "an empty page": (b'{"data": []}', "no line that can be read"),
    "bytes": (bytes(range(128, 256)), "no line that can be read"),
}
"""By name: the bytes of a file in which no answer can be seen, and words that say so."""
