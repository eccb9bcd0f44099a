"""`run` in several threads of a program, of which each may stop the server that another uses."""

import socket
from contextlib import suppress
from urllib.parse import urlsplit

from doubleword_batch import LocalConfig, LocalServer
from doubleword_batch.local.api.fault_injection import ClosableProtocol


def test_a_server_that_stops_hangs_up_on_connections_that_came_meanwhile(tmp_path, monkeypatch):
    """The web server closes what it knows of when it begins to stop, and no later connection."""
    monkeypatch.setattr(ClosableProtocol, "shutdown", lambda _: None)
    with LocalServer(LocalConfig(home=tmp_path, executor="simulate")) as server:
        port = urlsplit(server.base_url).port
        client = socket.create_connection(("127.0.0.1", port), timeout=30)
        client.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 ")
    client.settimeout(10)
    with client, suppress(ConnectionResetError):
        while client.recv(1 << 16):
            """The rest of the answer, and then the end."""
