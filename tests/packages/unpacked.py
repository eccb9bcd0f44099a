"""What is in a wheel, an sdist or a bundle."""

import tarfile
import zipfile


def files_of_wheel(path):
    """Names and contents; a bundle is a zip as well."""
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist() if not name.endswith("/")}


def files_of_sdist(path):
    """Names below the folder that all of them lie in, and contents."""
    with tarfile.open(path) as packed:
        members = [member for member in packed.getmembers() if member.isfile()]
        return {m.name.split("/", 1)[1]: packed.extractfile(m).read() for m in members}
