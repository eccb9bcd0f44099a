"""Compressed files read like plain ones, and a decompression bomb is refused in time."""

import bz2
import gzip
import sys
import zlib

import pytest

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.sources import open_source, text_files

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zstandard(data):
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


PACK = {"gz": gzip.compress, "zst": zstandard}
CSV = "naïve,b\n" + 'é,"1\n2"\n' * 3


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("t.csv", CSV, "csv"),
        ("t.tsv", CSV.replace(",", "\t"), "tsv"),
        ("t.jsonl", '{"a":1}\n{"a":2}\n', "jsonl"),
        ("t.json", '[{"a":1},{"a":2}]', "json"),
        ("t.txt", "one text", "texts"),
    ],
)
def test_a_compressed_file_gives_the_rows_of_the_plain_one(source, suffix, name, content, kind):
    plain = source(name, content)
    packed = source(f"{name}.{suffix}", PACK[suffix](content.encode()))
    without_names = [
        {k: v for k, v in row.items() if k not in {"path", "name"}} for row in packed.rows()
    ]
    assert packed.kind == kind
    assert packed.columns == plain.columns
    assert without_names == [
        {k: v for k, v in row.items() if k not in {"path", "name"}} for row in plain.rows()
    ]


@pytest.mark.parametrize("suffix", PACK)
def test_compression_is_recognised_by_content_not_by_name(source, suffix):
    assert len(list(source("t.csv", PACK[suffix](CSV.encode())).rows())) == 3


@pytest.mark.parametrize("suffix", PACK)
def test_several_compressed_members_in_one_file_are_one_table(source, suffix):
    pieces = b"".join(PACK[suffix](line.encode()) for line in ("a\n", "1\n", "2\n"))
    assert [row["a"] for row in source(f"t.csv.{suffix}", pieces).rows()] == ["1", "2"]


@pytest.mark.parametrize("suffix", PACK)
def test_a_truncated_or_damaged_compressed_file_is_refused(source, suffix):
    packed = PACK[suffix](("a\n" + "".join(f"{n * n}\n" for n in range(60_000))).encode())
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    for broken in (packed[:-30], bytes(flipped), packed[:20]):
        with pytest.raises(InputError, match="damaged or cut") as refused:
            list(source(f"t.csv.{suffix}", broken).rows())
        assert refused.value.code == "damaged_file"


def test_a_cut_file_says_how_much_of_it_can_be_read(source):
    lines = "".join(f"{n},{n * n}\n" for n in range(200))
    packed = gzip.compress(f"a,b\n{lines}".encode())
    with pytest.raises(InputError, match="beyond its first") as refused:
        list(source("t.csv.gz", packed[: len(packed) // 2]).rows())
    readable = int(refused.value.message.split("first ")[1].split()[0])
    assert readable == len(zlib.decompressobj(31).decompress(packed[: len(packed) // 2]))
    with pytest.raises(InputError, match="nothing of it can be decompressed"):
        source("t.csv.gz", packed[:12])


@pytest.mark.parametrize("suffix", PACK)
def test_what_broke_off_does_not_pass_for_whole_when_it_is_read_on(tmp_path, suffix):
    lines = "".join(f"{n},{n * n}\n" for n in range(60_000))
    path = tmp_path.resolve() / f"t.csv.{suffix}"
    path.write_bytes(PACK[suffix](lines.encode())[:-30])
    with text_files.TextFile(path, "cp1252").open() as stream:
        for _ in range(3):
            with pytest.raises(InputError, match="damaged or cut short"):
                list(stream)


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb_is_refused_by_its_ratio(source, suffix, monkeypatch):
    monkeypatch.setattr(text_files, "RATIO_FREE_BYTES", 1 << 16)
    with pytest.raises(InputError, match="far more") as refused:
        list(source(f"t.csv.{suffix}", PACK[suffix](b"a\n" + b"0\n" * 1_000_000)).rows())
    assert refused.value.code == "source_too_large"


def test_a_bomb_is_refused_by_its_size(source, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_DECOMPRESSED_BYTES", 1 << 16)
    with pytest.raises(InputError, match="decompresses to far more") as refused:
        list(source("t.csv.gz", gzip.compress(b"a\n" + b"0\n" * 90_000)).rows())
    assert refused.value.code == "source_too_large"


def test_a_small_table_that_compresses_very_well_is_read(source):
    assert len(list(source("t.csv.gz", gzip.compress(b"a\n" + b"0\n" * 90_000)).rows())) == 90_000


def test_other_compressions_are_refused_by_name(source):
    with pytest.raises(InputError, match="bzip2") as refused:
        source("t.csv.bz2", bz2.compress(CSV.encode()))
    assert refused.value.code == "unsupported_kind"


def test_without_the_extra_zstandard_says_how_to_get_it(source, tmp_path, roots, monkeypatch):
    package = "compression" if sys.version_info >= (3, 14) else "backports"
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "t.csv.zst").write_bytes(zstd.compress(CSV.encode()))
    with pytest.raises(ConfigError, match="Zstandard") as refused:
        open_source("t.csv.zst", roots)
    assert refused.value.code == "no_extra"


def test_a_file_of_pzstd_which_begins_with_a_frame_to_be_skipped_is_read(source):
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    packed = source("t.csv.zst", skipped + zstandard(b"a,b\n1,2\n") + skipped + zstandard(b"3,4\n"))
    assert list(packed.rows()) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
