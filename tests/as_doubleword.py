"""The local server under a provider's name: what it answers costs money, by the prices on file."""


def as_doubleword(server):
    """The variables under which a local server is taken for Doubleword's."""
    return {
        "DOUBLEWORD_API_KEY": server.token,
        "DOUBLEWORD_BASE_URL": server.base_url,
        "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
    }
