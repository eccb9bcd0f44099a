"""The two DLLs that a Windows CPython under Wine lacks: each only forwards to another one.

`python3.dll` is the stable ABI, which packages such as cryptography and duckdb are linked to; it is
not in the Maven artifact. `bcryptprimitives.dll` is what Rust's standard library asks for random
bytes; Wine 8 has none.

    python .ci/forwarding_dlls.py FOLDER_OF_PYTHON SYSTEM32
"""

import struct
import sys
from pathlib import Path

_EXPORTS_AT = 0x1000  # the address of the only section, once it is loaded
_FILE_ALIGNMENT = 0x200
_HEADERS = 0x200


def main(arguments: list[str]) -> int:
    """Write both, each into the folder where it is looked for."""
    python, system32 = map(Path, arguments)
    (library,) = python.glob("python3[0-9]*.dll")
    names = [name for name in exports(library.read_bytes()) if name.lstrip("_").startswith("Py")]
    stable = {name: f"{library.stem}.{name}" for name in names}
    (python / "python3.dll").write_bytes(forwarding_dll("python3.dll", stable))
    random = {"ProcessPrng": "advapi32.SystemFunction036"}  # RtlGenRandom: the same arguments
    (system32 / "bcryptprimitives.dll").write_bytes(forwarding_dll("bcryptprimitives.dll", random))
    return 0


def exports(image: bytes) -> list[str]:
    """The names that a 64-bit DLL exports."""
    (pe,) = struct.unpack_from("<I", image, 0x3C)
    sections, optional_bytes = struct.unpack_from("<2xH12xH", image, pe + 4)
    (directory,) = struct.unpack_from("<I", image, pe + 24 + 112)

    def offset(address: int) -> int:
        for number in range(sections):
            header = pe + 24 + optional_bytes + 40 * number
            size, start, _, at = struct.unpack_from("<4I", image, header + 8)
            if start <= address < start + size:
                return address - start + at
        raise ValueError(f"{address:#x} is in no section")

    count, _, names = struct.unpack_from("<3I", image, offset(directory) + 24)
    found = struct.unpack_from(f"<{count}I", image, offset(names))
    return [image[(at := offset(name)) : image.index(b"\0", at)].decode() for name in found]


def forwarding_dll(name: str, targets: dict[str, str]) -> bytes:
    """A 64-bit DLL without code, whose names stand for those of other DLLs.

    Args:
        name: of the DLL itself.
        targets: for each name that it exports, `other.name` without `.dll`.
    """
    section = _export_section(name, sorted(targets.items()))
    section_bytes = -(-len(section) // _FILE_ALIGNMENT) * _FILE_ALIGNMENT
    coff = struct.pack("<2H3I2H", 0x8664, 1, 0, 0, 0, 240, 0x2022)  # x86-64, a DLL
    image_bytes = _EXPORTS_AT + -(-len(section) // 0x1000) * 0x1000
    optional = struct.pack(
        "<H2B5IQ2I6H4I2H4Q2I",
        *(0x20B, 14, 0, 0, section_bytes, 0, 0, 0),  # no code, hence no entry point
        *(0x180000000, 0x1000, _FILE_ALIGNMENT),
        *(6, 0, 0, 0, 6, 0),
        *(0, image_bytes, _HEADERS, 0),
        *(3, 0x140),  # relocatable
        *(0x100000, 0x1000, 0x100000, 0x1000),
        *(0, 16),
    )
    directories = struct.pack("<2I", _EXPORTS_AT, len(section)).ljust(16 * 8, b"\0")
    header = struct.pack(
        "<8s6I2HI",
        *(b".edata", len(section), _EXPORTS_AT, section_bytes, _HEADERS),
        *(0, 0, 0, 0, 0x40000040),  # readable data
    )
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    headers = dos + b"PE\0\0" + coff + optional + directories + header
    return headers.ljust(_HEADERS, b"\0") + section.ljust(section_bytes, b"\0")


def _export_section(name: str, targets: list[tuple[str, str]]) -> bytes:
    """The export directory: three tables side by side, then the texts that they point to."""
    count = len(targets)
    functions = 40
    names = functions + 4 * count
    ordinals = names + 4 * count
    texts = bytearray()
    texts_at = _EXPORTS_AT + ordinals + 2 * count

    def address(text: str) -> int:
        at = texts_at + len(texts)
        texts.extend(text.encode() + b"\0")
        return at

    own = address(name)
    name_addresses = [address(exported) for exported, _ in targets]
    forwards = [address(target) for _, target in targets]
    tables = (functions, names, ordinals)
    directory = struct.pack(
        "<2I2H7I", 0, 0, 0, 0, own, 1, count, count, *(_EXPORTS_AT + table for table in tables)
    )
    lists = struct.pack(f"<{2 * count}I", *forwards, *name_addresses)
    return directory + lists + struct.pack(f"<{count}H", *range(count)) + bytes(texts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
