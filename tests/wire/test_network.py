"""The way to the server as the environment describes it: certificates and proxies."""

import socket
import subprocess

import pytest

from doubleword_batch import errors
from doubleword_batch.network import proxy_for, shown_proxy
from wire.certificates import self_signed
from wire.scripted_server import answer, serving

MODELS = {"data": [{"id": "m"}]}
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_the_named_authorities_hold_on_this_machine_too(
    connect_directly, tmp_path, monkeypatch, host, name
):
    tls, certificate = self_signed(tmp_path)
    named = certificate
    if name == "SSL_CERT_DIR":
        named = hashed(tmp_path, certificate)
    monkeypatch.setenv(name, str(named))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with serving(
        answer(200, MODELS), answer(201, {"id": "b", "status": "validating"}), tls=tls
    ) as server:
        client = connect_directly(server.base_url.replace("127.0.0.1", host))
        assert (await client.models.list())[0].id == "m"
        created = await client.batches.create(
            input_file_id="f", endpoint="/v1/embeddings", completion_window="24h"
        )
    assert created.id == "b"


def hashed(folder, certificate):
    """A folder as OpenSSL wants it: the certificate under the hash of its subject."""
    command = ["openssl", "x509", "-hash", "-noout", "-in", certificate]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    found = folder / "authorities"
    found.mkdir()
    (found / f"{run.stdout.strip()}.0").write_bytes(certificate.read_bytes())
    return found


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("SSL_CERT_FILE", "nowhere.pem", "cannot be read"),
        ("SSL_CERT_FILE", "a folder", "cannot be read"),
        ("SSL_CERT_FILE", "no-certificate.pem", "contains no certificates"),
        ("SSL_CERT_DIR", "nowhere", "cannot be read"),
        ("SSL_CERT_DIR", "no-certificate.pem", "cannot be read"),
        ("SSLKEYLOGFILE", "no folder/keys.log", "cannot be written"),
    ],
)
async def test_authorities_that_cannot_be_used_are_named_with_their_variable(
    connect_directly, tmp_path, monkeypatch, name, value, reason
):
    (tmp_path / "a folder").mkdir()
    (tmp_path / "no-certificate.pem").write_text("text", encoding="utf-8")
    monkeypatch.setenv(name, str(tmp_path / value))
    with pytest.raises(errors.ConfigError) as caught:
        await connect_directly("https://api.example.test/v1").models.list()
    assert caught.value.message == f"{name} names «{tmp_path / value}», which {reason}."
    assert name in caught.value.hint


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://user:secret@proxy.test:1",
        "http://user:secret@[::1",
        "http://user:secret@proxy.test:99999",
        "http://user:secret@proxy.test:0",
        "http://user:secret@proxy.test:http",
        "'http://user:secret@proxy.test:1'",
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named_and_its_password_is_not(
    connect_directly, monkeypatch, proxy
):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(errors.ConfigError) as caught:
        await connect_directly("https://api.example.test/v1").models.list()
    assert proxy.rpartition("@")[2] in caught.value.message
    assert "secret" not in str(caught.value)


async def list_models(client):
    await client.models.list()


async def cancel(client):
    await client.batches.cancel("b")


@pytest.mark.parametrize("call", [list_models, cancel])
async def test_a_proxy_that_is_not_there_is_named_and_its_password_is_not(
    connect_directly, monkeypatch, unused_port, call
):
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{unused_port}")
    client = connect_directly("https://api.example.test/v1", max_retry_seconds=0)
    with pytest.raises(errors.TransportError) as caught:
        await call(client)
    assert f"through the proxy http://127.0.0.1:{unused_port}" in caught.value.message
    assert "NO_PROXY=api.example.test" in caught.value.hint
    assert "secret" not in str(caught.value)
    assert caught.value.may_have_happened is False


@pytest.fixture
def unused_port():
    with socket.socket() as held:  # bound, and not listening: nobody answers there
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_a_post_goes_through_the_environments_proxy(connect_directly, monkeypatch):
    async with serving(answer(403, b"")) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.base_url.removesuffix("/v1"))
        client = connect_directly("https://api.example.test/v1", max_retry_seconds=0)
        with pytest.raises(errors.TransportError) as caught:
            await client.batches.cancel("b")
        (asked,) = proxy.requests
    assert (asked.method, asked.target) == ("CONNECT", "api.example.test:443")
    assert "authorization" not in asked.headers
    assert caught.value.may_have_happened is False


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, "http://proxy.test:3128"),
        ({"https_proxy": "proxy.test:3128"}, "http://proxy.test:3128"),
        ({"ALL_PROXY": "http://proxy.test"}, "http://proxy.test"),
        ({"HTTP_PROXY": "http://proxy.test"}, None),
        ({"HTTPS_PROXY": "http://proxy.test", "NO_PROXY": "example.test"}, None),
        ({"HTTPS_PROXY": "http://proxy.test", "NO_PROXY": ".example.test"}, None),
        ({"HTTPS_PROXY": "http://proxy.test", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy.test", "NO_PROXY": "other.test"}, "http://proxy.test"),
    ],
)
async def test_the_proxy_is_the_one_that_the_variables_name(monkeypatch, variables, proxy):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for("https://api.example.test/v1") == proxy
    assert proxy_for("http://127.0.0.1:9/v1") is None
    assert proxy_for("https://localhost/v1") is None


@pytest.mark.parametrize(
    ("address", "block", "is_direct"),
    [
        ("https://10.1.2.3/v1", "10.0.0.0/8", True),
        ("https://10.1.2.3:8443/v1", "example.test, 10.0.0.7/8", True),
        ("https://11.1.2.3/v1", "10.0.0.0/8", False),
        ("https://[fd00::7]/v1", "fd00::/8", True),
        ("https://[fd00::7]:8443/v1", "fd00::7", True),
        ("https://[::ffff:10.1.2.3]/v1", "10.0.0.0/8", True),
        ("https://[fe80::7]/v1", "fd00::/8,10.0.0.0/8", False),
        ("https://10.1.2.3/v1", "10.0.0.0/99,/8,10", False),
        ("https://ten.example.test/v1", "0.0.0.0/0", False),
    ],
)
async def test_no_proxy_leads_past_the_proxy_to_whole_blocks_of_numbers(
    monkeypatch, address, block, is_direct
):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test")
    monkeypatch.setenv("NO_PROXY", block)
    assert proxy_for(address) == (None if is_direct else "http://proxy.test")


async def test_a_proxys_address_is_shown_without_its_password():
    assert shown_proxy("http://user:p@ss@proxy.test:3128/") == "http://proxy.test:3128"
