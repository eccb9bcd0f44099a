"""Starts `python -m doubleword_batch` as `subprocess` does, without its imports on Linux.

There a start is a fork of a Python that has imported the package (`fork_server.py`): a process like
any other, with its own number, signals, streams and exit code, that need not import anything. What
must see a Python start says `cold=True`. A start is cold by itself where a fork would differ:
another program, options of `subprocess` that are not served, a variable that Python or a library
reads when it is imported, or modules in the folder that it runs in.
"""

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

COMMAND = [sys.executable, "-m", "doubleword_batch"]
_SERVER = Path(__file__).with_name("fork_server.py")
_SERVED = {"cwd", "env", "stdin", "stdout", "stderr", "start_new_session", "bufsize"} | {
    *("text", "encoding", "errors", "universal_newlines"),
}
# Read when Python starts or a module is imported; a test sees that there are no others.
READ_AT_IMPORT = (
    *("PYTHON", "_PYTHON", "LC_", "LANG", "LD_", "TZ", "OPENSSL", "SSL_"),
    *("OTEL_", "PYDANTIC_", "TYPER_", "_TYPER_"),
)
_WARNINGS = "PYTHONWARNINGS"  # has a server of its own for each value
_servers = {}
_lock = threading.Lock()


class Popen(subprocess.Popen):
    """As `subprocess.Popen`; `cold` starts another Python in any case."""

    _told = None

    def __init__(self, arguments, *, cold=False, **options):
        self._is_forked = not cold and _can_be_forked(list(arguments), options)
        super().__init__(arguments, **options)

    def _execute_child(self, arguments, *rest):
        if not self._is_forked:
            super()._execute_child(arguments, *rest)
            return
        _, _, _, _, folder, environment, _, _, _, *pipes, _, _, _, _, _, session, _ = rest
        environment = dict(os.environ if environment is None else environment)
        order = {
            "arguments": [os.fspath(word) for word in arguments[len(COMMAND) :]],
            "folder": os.fspath(folder or Path.cwd()),
            "environment": environment,
            "session": session,
        }
        streams = [given if given != -1 else own for own, given in enumerate(_theirs(*pipes))]
        ours, theirs = socket.socketpair()
        with theirs:
            server = _server(environment.get(_WARNINGS))
            socket.send_fds(server, [b"!"], [theirs.fileno(), *streams])
        ours.sendall(json.dumps(order).encode() + b"\n")
        self._told = ours.makefile("r")
        ours.close()  # the file keeps it open
        self.pid = int(self._told.readline())
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags):
        if self._told is None:
            return super()._try_wait(wait_flags)
        if wait_flags & os.WNOHANG:
            ended = select.poll()
            ended.register(self._told, select.POLLIN)
            if not ended.poll(0):
                return 0, 0
        with self._told:
            return self.pid, int(self._told.readline())

    def _internal_poll(self, _deadstate=None, **functions):
        if self._told is None:
            return super()._internal_poll(_deadstate, **functions)
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


def run(
    arguments,
    *,
    input=None,  # noqa: A002  # the names are those of `subprocess.run`
    capture_output=False,
    timeout=None,
    check=False,
    **options,
):
    """As `subprocess.run`, with `Popen` of this module."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(arguments, **options) as process:
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    ended = subprocess.CompletedProcess(arguments, process.returncode, output, errors)
    if check:
        ended.check_returncode()
    return ended


def _can_be_forked(arguments, options):
    if sys.platform != "linux" or arguments[: len(COMMAND)] != COMMAND or not {*options} <= _SERVED:
        return False
    environment = options.get("env") or os.environ
    names = {n for n in {*environment, *os.environ} if n.startswith(READ_AT_IMPORT)} - {_WARNINGS}
    if any(environment.get(name) != os.environ.get(name) for name in names):
        return False
    folder = Path(options.get("cwd") or Path.cwd())
    return folder.is_dir() and not any(folder.glob("*.py"))


def _theirs(p2cread, _p2cwrite, _c2pread, c2pwrite, _errread, errwrite):
    return p2cread, c2pwrite, errwrite


def _server(warnings):
    """The connection with the server whose Python was started with these warnings."""
    with _lock:
        if warnings not in _servers:
            _servers[warnings] = _started(warnings)
        return _servers[warnings]


def _started(warnings):
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    variables = {name: value for name, value in os.environ.items() if name != _WARNINGS}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, _SERVER, str(theirs.fileno())],
            env=variables if warnings is None else variables | {_WARNINGS: warnings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end():
        ours.close()
        process.wait(10)

    atexit.register(end)
    assert ours.recv(1) == b"!", "the fork server has not come up; see its words on stderr"
    return ours
