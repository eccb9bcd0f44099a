"""A connection in the middle that breaks: forwards bytes both ways until it has had enough."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """Forwards to a local server, whose Host header it leaves as the client sends it.

    Args:
        server: where to.
        cut_upload_after: cut the first connection that sends so many bytes.

    Attributes:
        base_url: give this to the client.
        cuts: connections cut so far.
    """

    def __init__(self, server, *, cut_upload_after):
        self._target = urlsplit(server.base_url)
        self._most = cut_upload_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = [self._listener]
        self._threads = []
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.cuts = 0

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_error):
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._target.hostname, self._target.port))
                self._ends += [client, server]
                self._start(self._forward, client, server, self._most)
                self._start(self._forward, server, client, None)

    def _forward(self, source, sink, most):
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sent += len(data)
                if most is not None and sent > most and not self.cuts:
                    self.cuts += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
