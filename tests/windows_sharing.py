"""Windows' rule about open files, on Linux: what this process has open keeps its name.

There a file that is open is neither renamed, replaced nor removed, and no folder that it lies in is
renamed. Linux lets all of that happen, so that a handle which was left open shows on Windows only.
`enforce` refuses it to the package and to the skill's scripts, in the tests' own process.
"""

import os
import stat
import sys
from functools import wraps
from pathlib import Path

SHARING_VIOLATION = 32
OURS = (f"{os.sep}doubleword_batch{os.sep}", f"{os.sep}skill{os.sep}doubleword-batch{os.sep}")
_NEAR = 8  # frames: pathlib and shutil stand between our code and the system's call


def enforce():
    """Hold the package to it from now on."""
    for name in ("rename", "replace"):
        setattr(os, name, _checked(getattr(os, name), moves=True))
    for name in ("unlink", "remove"):
        setattr(os, name, _checked(getattr(os, name), moves=False))


def _checked(change, *, moves):
    @wraps(change)
    def checked(path, *targets, dir_fd=None, src_dir_fd=None, dst_dir_fd=None):
        if _is_ours():
            _refuse_if_open(path, src_dir_fd if moves else dir_fd)
            for target in targets:
                _refuse_if_open(target, dst_dir_fd)
        if moves:
            return change(path, *targets, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        return change(path, dir_fd=dir_fd)

    return checked


def _is_ours():
    frame = sys._getframe(2)
    for _ in range(_NEAR):
        if frame is None:
            return False
        if any(place in frame.f_code.co_filename for place in OURS):
            return True
        frame = frame.f_back
    return False


def _refuse_if_open(path, folder):
    try:
        found = os.stat(path, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return
    if stat.S_ISREG(found.st_mode):
        is_open = any(os.path.samestat(found, other) for _, other in _open_files())
    elif stat.S_ISDIR(found.st_mode) and folder is None:
        inside = Path(path).resolve()
        is_open = any(inside in name.parents for name, _ in _open_files())
    else:
        is_open = False
    if is_open:
        error = PermissionError(13, "The process cannot access the file: it is open", str(path))
        error.winerror = SHARING_VIOLATION
        raise error


def _open_files():
    """The name and the status of each regular file that this process has open."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            status = os.fstat(int(descriptor.name))
            if stat.S_ISREG(status.st_mode):
                yield descriptor.readlink(), status
        except OSError:  # closed in between
            continue
