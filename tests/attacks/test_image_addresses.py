"""An image's address makes nobody ask the services of a machine, a cloud or a company's network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import agent
from doubleword_batch.public_address import why_not_public
from skill.places import script_module

METADATA = [
    *("169.254.169.254", "169.254.169.254.", "2852039166", "0xA9FEA9FE", "0251.0376.0251.0376"),
    *("0xa9.254.0251.254", "169.254.43518", "169.16689662", "00000251.254.169.254"),
    *("[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]"),
    *("[2002:a9fe:a9fe::]", "[fd00:ec2::254]", "[fe80::1%25eth0]", "[fe80::a9fe:a9fe]"),
    *(
        "\uff11\uff16\uff19.254.169.254",
        "169\u3002254\u3002169\u3002254",
        "①⑥⑨.254.169.254",
        "169%2E254%2E169%2E254",
    ),
    *("metadata.google.internal", "METADATA", "instance-data", "instance-data.ec2.internal"),
    *("169.254.169.254.nip.io", "a9fea9fe.nip.io", "x.169-254-169-254.sslip.io", "lvh.me"),
    *("100.100.100.200", "192.0.0.192", "168.63.129.16", "169.254.170.2", "169.254.0.23"),
]
INNER = [
    *("localhost", "LOCALHOST.", "a.localhost", "127.1", "0", "0.0", "[::1]", "[::]"),
    *("10.0.0.5", "192.168.1.1", "172.16.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255"),
    *("host.docker.internal", "printer.local", "kubernetes.default.svc", "intranet", "a.home.arpa"),
    *("999.1.1.1", "1.2.3.4.5", "0x", "a..b", "x.1", "[::1", "", "-_-", "1.2.3.256"),
]
ODD = [
    *("https://u:p@example.org/a.png", "https://u@example.org/a.png", "https://@example.org/"),
    *("https://example.org@169.254.169.254/", "https://169.254.169.254#@example.org/"),
    *("https://example.org\\@169.254.169.254/", "https:\\\\169.254.169.254\\a.png"),
    *("https://example.org/\nX: y", "https://exa\nmple.org/", "https://example.org/a b"),
    *("https://example.org/\u202e", "https://example\u200b.org/", "https://example.org/\x00"),
    *(
        " https://example.org/",
        "https:///a.png",
        "https://example.org:0/",
        "https://example.org:x/",
    ),
    *(
        "http://example.org/a.png",
        "ftp://example.org/",
        "gopher://example.org",
        "file:///etc/passwd",
    ),
]
PUBLIC = [
    *(
        "https://example.org/a.png?size=1&x=%20",
        "https://8.8.8.8/a.png",
        "https://münchen.de/ä.png",
    ),
    *("https://[2606:4700:4700::1111]/a.png", "https://my_bucket.s3.eu-west-1.amazonaws.com/a.png"),
    *(
        "https://cdn-1-2-3-4.example.com/a.png",
        "https://example.org:8443/a.png",
        "HTTPS://Example.ORG/",
    ),
]


@pytest.mark.parametrize("host", METADATA + INNER)
@pytest.mark.parametrize(
    "form", ["https://{}/latest/meta-data", "HTTPS://{}:443/a.png", "https://{}"]
)
def test_an_address_inside_is_refused_in_every_spelling(host, form):
    assert why_not_public(form.format(host))
    assert script_module("public_address").why_not_public(form.format(host)) == why_not_public(
        form.format(host)
    )


@pytest.mark.parametrize("url", ODD)
def test_an_address_that_parsers_read_in_two_ways_is_refused(url):
    assert why_not_public(url)
    assert script_module("public_address").why_not_public(url) == why_not_public(url)


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_address_is_taken(url):
    assert why_not_public(url) is None
    assert script_module("public_address").why_not_public(url) == why_not_public(url)


@given(st.text(max_size=40))
def test_no_text_breaks_the_check(text):
    for url in (text, f"https://{text}", f"https://{text}/a.png", f"https://[{text}]/"):
        why_not_public(url)


@given(
    st.ip_addresses(v=4).filter(lambda address: not address.is_global),
    st.lists(st.sampled_from(["{}", "{:#x}", "0{:o}", "000{:o}"]), min_size=4, max_size=4),
)
def test_no_number_inside_passes_in_any_notation(address, forms):
    four = ".".join(form.format(byte) for form, byte in zip(forms, address.packed, strict=True))
    number = forms[0].format(int(address))
    for host in (four, number, f"[::ffff:{address}]"):
        assert why_not_public(f"https://{host}/")


async def test_an_agent_is_told_which_row_and_why(settings):
    rows = [{"i": "https://example.org/a.png"}, {"i": "https://0xA9FEA9FE/latest"}]
    async with agent(settings) as a:
        refused = await a.fails("create_batch_file", rows=rows, prompt="x", image_column="i")
    assert refused["error"]["code"] == "invalid_image"
    assert "does not lead to a public server" in refused["error"]["message"]
