"""The authorities that are trusted when the tests begin are read once, not again for each client.

OpenSSL takes a tenth of a second for the hundred and more of them, longer than most tests. A client
is still given what it asks for: another file, folder or a log of keys is read as it always is.
"""

import os
import ssl
from functools import cache, wraps

import certifi

_TRUSTED = {certifi.where(), os.environ.get("SSL_CERT_FILE")} - {None, ""}


def share():
    """Share them in this process from now on."""
    create = ssl.create_default_context
    of_file = cache(lambda path: create(cafile=path))

    @wraps(create)
    def created(purpose=ssl.Purpose.SERVER_AUTH, **asked):
        asks_for_a_server = purpose is ssl.Purpose.SERVER_AUTH
        is_shared = asks_for_a_server and set(asked) == {"cafile"} and asked["cafile"] in _TRUSTED
        if is_shared and not os.environ.get("SSLKEYLOGFILE"):
            return of_file(asked["cafile"])
        return create(purpose, **asked)

    ssl.create_default_context = created
