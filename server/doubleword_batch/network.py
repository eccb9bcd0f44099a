"""How this machine is set up to reach others: the proxy and the certificates of the environment.

Read in the one way that programs agree on: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (or the
system's settings), SSL_CERT_FILE and SSL_CERT_DIR.
"""

import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from doubleword_batch.loopback import is_loopback


def proxy_for(url: str) -> str | None:
    """The proxy on the way to `url`, as an address; None to go there directly.

    A proxy cannot reach this machine, and must not see what stays on it: none leads to a loopback
    address, whatever the environment says.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if (
        not found
        or is_loopback(host)
        or proxy_bypass(f"{host}:{parts.port}" if parts.port else host)
    ):
        return None
    return found if "://" in found else f"http://{found}"


def shown_proxy(proxy: str) -> str:
    """A proxy's address for people: without the user and password that may stand in it."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def tls_context(url: str) -> ssl.SSLContext:
    """What verifies the server at `url`.

    SSL_CERT_FILE or SSL_CERT_DIR name the trusted authorities, on loopback addresses too; without
    them they are those of certifi. For plain http nothing is loaded, and nothing would be trusted.

    Raises:
        OSError, ValueError: the file or folder cannot be used (an `ssl.SSLError` is an OSError).
    """
    if urlsplit(url).scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    from httpx import create_ssl_context

    return create_ssl_context()
