"""How this machine reaches others: the proxy and certificates that the environment names.

Read in the way that programs agree on: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY with its
names, addresses and address blocks (or the system's settings), SSL_CERT_FILE and SSL_CERT_DIR.
"""

import os
import ssl
from contextlib import suppress
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from doubleword_batch.errors import ConfigError, quote_untrusted
from doubleword_batch.loopback import is_loopback


def proxy_for(url: str) -> str | None:
    """The address of the proxy for `url`; None for a direct connection.

    A proxy cannot reach this machine, and must not see its local traffic: loopback addresses never
    use one, whatever the environment says.

    Raises:
        ConfigError: its port is not valid.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if (
        not found
        or is_loopback(host)
        or proxy_bypass(f"{host}:{parts.port}" if parts.port else host)
        or _is_in_block(host, proxies.get("no", ""))
    ):
        return None
    proxy = found if "://" in found else f"http://{found}"
    with suppress(ValueError):
        if urlsplit(proxy).port != 0:
            return proxy
    raise unusable_proxy(proxy)


def _is_in_block(host: str, no_proxy: str) -> bool:
    """Whether an address is in a block of NO_PROXY (10.0.0.0/8), which urllib does not check."""
    try:
        number = ip_address(host)
    except ValueError:  # a name
        return False
    address = getattr(number, "ipv4_mapped", None) or number
    for entry in no_proxy.split(","):
        with suppress(ValueError):  # a name, or an invalid block
            if address in ip_network(entry.strip().strip("[]"), strict=False):
                return True
    return False


def unusable_proxy(proxy: str | None) -> ConfigError:
    """The error for a proxy that cannot be used."""
    return ConfigError(
        "The proxy that the environment names cannot be used"
        + (f": {shown_proxy(proxy)}." if proxy else "."),
        hint="Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY: http and https proxies work, SOCKS "
        "does not.",
    )


def shown_proxy(proxy: str) -> str:
    """A proxy's address for people: without a user name and password."""
    try:
        parts = urlsplit(proxy)
    except ValueError:  # an unclosed bracket
        return proxy.rpartition("@")[2]
    if not parts.netloc:  # in quotes, perhaps
        return proxy.rpartition("@")[2]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def tls_context(url: str) -> ssl.SSLContext:
    """The TLS settings that verify the server at `url`.

    SSL_CERT_FILE or SSL_CERT_DIR name the trusted authorities, for loopback addresses too; by
    default they are certifi's. For plain http nothing is loaded, and nothing would be trusted.

    Raises:
        ConfigError: the file or folder cannot be used; the message names it and its variable.
    """
    if urlsplit(url).scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    from httpx import create_ssl_context

    name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
    named = os.environ.get(name)
    try:
        if named and name == "SSL_CERT_DIR":
            os.scandir(named).close()  # a missing folder would silently trust nobody
        return create_ssl_context()
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        keys = os.environ.get("SSLKEYLOGFILE")
        if keys and isinstance(error, OSError) and error.filename == keys:
            raise ConfigError(
                f"SSLKEYLOGFILE names {quote_untrusted(keys, 200)}, which cannot be written.",
                hint="Set SSLKEYLOGFILE to a file that can be written, or unset it.",
            ) from None
        if not named:
            raise
        reason = "contains no certificates" if isinstance(error, ssl.SSLError) else "cannot be read"
        raise ConfigError(
            f"{name} names {quote_untrusted(named, 200)}, which {reason}.",
            hint=f"Set {name} to the certificates of your authorities, in PEM form, or unset it.",
        ) from None
