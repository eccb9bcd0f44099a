"""A Python that has imported the package and forks for each command: a start without imports.

`processes.py` starts it, with the descriptor of a socket as its argument. Over that come four
descriptors for each command: a connection about this command alone, and its stdin, stdout and
stderr. The connection brings the order as a line of JSON; it takes the process's number in answer,
and when the process has ended what `waitpid` said of it.

The forked process becomes what `python -m doubleword_batch` is: its arguments, folder, variables
and streams are its own, no other descriptor is left, and Python ends it as it ends any.
"""

import gc
import io
import json
import os
import pkgutil
import runpy
import selectors
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

PACKAGE = "doubleword_batch"
# Imported by functions of other libraries, when they first need them.
_LATER = (
    *("anyio._backends._asyncio", "encodings.idna", "mcp.client.stdio", "uvicorn.lifespan.off"),
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto"),
)
_NOT_ALL = ("__main__", "_child", "windows_", "batch_openai")  # run at once, or never here


def main() -> None:
    _import_everything()
    gc.collect()
    gc.freeze()  # or each child copies these pages as it looks for garbage
    with socket.socket(fileno=int(sys.argv[1])) as control:
        control.send(b"!")
        order = _serve(control)
    if order is not None:
        _become(order)
        runpy._run_module_as_main(PACKAGE)  # what the option -m calls


def _import_everything() -> None:
    sys.modules["httpx._main"] = None  # as the command itself does
    package = import_module(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not any(part in module.name for part in _NOT_ALL):
            import_module(module.name)
    for name in _LATER:
        import_module(name)


def _serve(control):
    """Fork for each order; returns it in the new process, and None when nobody will send one."""
    running = {}
    with selectors.EpollSelector() as waiting:
        waiting.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not control:
                    waiting.unregister(key.fileobj)
                    _tell_the_end(key.fileobj, *running.pop(key.fileobj))
                    continue
                _, descriptors, _, _ = socket.recv_fds(control, 1, 4)
                if not descriptors:
                    return None
                connection = socket.socket(fileno=descriptors[0])
                order = json.loads(connection.makefile("rb").readline())
                child = os.fork()
                if not child:
                    control.close()
                    connection.detach()
                    return order | {"streams": descriptors[1:]}
                connection.send(b"%d\n" % child)
                for descriptor in descriptors[1:]:
                    os.close(descriptor)
                ended = os.pidfd_open(child)
                running[ended] = child, connection
                waiting.register(ended, selectors.EVENT_READ)


def _tell_the_end(ended, child, connection) -> None:
    os.close(ended)
    _, status = os.waitpid(child, 0)
    with connection, suppress(OSError):  # who asked has ended
        connection.send(b"%d\n" % status)


def _become(order) -> None:
    if order["session"]:
        os.setsid()
    for number, descriptor in enumerate(order["streams"]):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["arguments"]
    sys.orig_argv[:] = [sys.executable, "-m", PACKAGE, *order["arguments"]]
    sys.path[0] = str(Path.cwd())
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _opened(number, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _opened(number, like):
    """A text stream as Python opens it when it starts."""
    binary = open(  # noqa: SIM115  # for as long as the process lives
        number, "wb" if number else "rb", buffering=0 if like.write_through else -1, closefd=False
    )
    getattr(binary, "raw", binary).name = like.name
    stream = io.TextIOWrapper(
        binary,
        encoding=like.encoding,
        errors=like.errors,
        newline="\n",
        line_buffering=number == 2 or os.isatty(number),
        write_through=like.write_through,
    )
    stream.mode = like.mode
    return stream


if __name__ == "__main__":
    main()
