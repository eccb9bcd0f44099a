"""A port that one of our servers listens on is its own."""

import socket
import sys
from types import SimpleNamespace

from doubleword_batch import loopback
from doubleword_batch.loopback import listen_on


def can_share(address):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(address)
            other.listen(1)
        except OSError:
            return False
        return True


def test_no_other_program_takes_the_port_of_a_server_even_if_it_asks_to_share_it():
    with listen_on(0, who="It", backlog=1) as listener:
        address = listener.getsockname()
        assert not can_share(address)
    assert can_share(address)


def test_on_windows_a_server_asks_for_its_port_alone(monkeypatch):
    if sys.platform != "win32":  # an option of this system stands for the one of Windows
        monkeypatch.setattr(loopback, "sys", SimpleNamespace(platform="win32"))
        option = socket.SO_KEEPALIVE
        monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", option, raising=False)
    with listen_on(0, who="It", backlog=1) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE)
        assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
