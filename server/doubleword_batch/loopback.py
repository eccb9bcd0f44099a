"""The one check of whether an address is this very machine."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine: `localhost` or an address of 127/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
