"""Half a character in a message becomes U+FFFD, wherever the blocks of the stream are cut."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doubleword_batch.mcp_server.stdio import WholeCharacters

TEXTS = st.text(
    st.sampled_from(["\\", "u", "d", "8", "0", "\ud83d", "\ude00", "\U0001f600", '"', "\n", "é"]),
    max_size=30,
)


def mended(text):
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), cut=st.integers(1, 40))
def test_every_text_arrives_with_its_whole_characters_and_no_half(texts, cut):
    stream = b"".join(json.dumps({"t": text}).encode() + b"\n" for text in texts)
    whole = WholeCharacters()
    out = b"".join(whole.of(stream[at : at + cut]) for at in range(0, len(stream), cut))
    assert [json.loads(line)["t"] for line in out.splitlines()] == [mended(t) for t in texts]


def test_a_line_is_passed_on_with_its_end():
    line = b'{"t": "C:\\\\u", "x": "\\ud83d\\ude00\\n"}\n'
    assert WholeCharacters().of(line) == line
