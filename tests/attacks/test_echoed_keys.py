"""A key that a server sends back, in whatever escapes, reaches no table, error or listing."""

import json
from html import escape
from time import process_time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch import errors
from doubleword_batch.api import BatchClient
from doubleword_batch.local.executors.base import Request, RequestFailed
from doubleword_batch.local.executors.upstream import UpstreamExecutor
from doubleword_batch.redaction import redacted, redacted_lines
from skill.servers import answering
from wire.scripted_server import answer, serving

KEY = "sk-Ab/c_1234567890+xyzZ"
ID = "0191b5f2-0000-7000-8000-000000000001"


def in_escapes(form):
    return "".join(form(ord(character)) for character in KEY)


ECHOES = {
    "as it is": KEY,
    "JSON escapes": in_escapes("\\u{:04x}".format),
    "JSON escapes in capitals": in_escapes("\\u{:04X}".format),
    "one escape": KEY.replace("k", "\\u006b", 1),
    "escaped slashes": KEY.replace("/", "\\/"),
    "escapes in a text in a text": in_escapes("\\\\u{:04x}".format),
}
ECHOES_IN_WORDS = ECHOES | {
    "a URL": quote(KEY, safe=""),
    "all of it in a URL": in_escapes("%{:02X}".format),
    "a page": escape(KEY).replace("/", "&#x2F;"),
    "numbers of a page": in_escapes("&#{};".format),
    "escapes of Python": in_escapes("\\x{:02x}".format),
    "cut short": KEY[:16],
    "without its beginning": KEY[5:],
}


def decoded(text, depth=3):
    """The text and what reading it as JSON would give, also of texts within it."""
    yield text
    if depth:
        try:
            inner = json.loads(f'"{text}"')
        except ValueError:
            return
        if inner != text:
            yield from decoded(inner, depth - 1)


def shows(text, key=KEY):
    return any(key in form for form in decoded(text))


def client_of(server):
    return BatchClient(base_url=server.base_url, api_key=KEY, max_retry_seconds=0)


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_lines_of_results_are_kept_without_it(echo):
    line = redacted_lines(f'{{"custom_id":"r1","text":"got {echo}!"}}\n'.encode(), KEY).decode()
    assert json.loads(line)["text"] == "got ***!"


@pytest.mark.parametrize("echo", ECHOES_IN_WORDS.values(), ids=ECHOES_IN_WORDS)
@pytest.mark.parametrize("status", [400, 503])
async def test_an_error_does_not_say_it(echo, status):
    bodies = [f"bad key {echo}", f'{{"error":{{"message":"bad key {echo}"}}}}', f'{{"x":"{echo}"}}']
    for body in bodies:
        async with serving(answer(status, body.encode())) as server, client_of(server) as client:
            with pytest.raises(errors.ApiError) as caught:
                await client.models.list()
        shown = f"{caught.value} {caught.value.details}"
        assert "***" in shown
        assert echo not in shown
        assert not shows(shown)


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
async def test_no_object_and_no_line_holds_it(echo):
    kept = []
    listed = f'{{"data":[{{"id":"m {echo}","object":"model"}}]}}'
    line = f'{{"custom_id":"r1","response":{{"body":"{echo}"}}}}\n'
    answers = answer(200, listed.encode()), answer(200, line.encode())
    async with serving(*answers) as server, client_of(server) as client:
        models = await client.models.list()
        await client.files.content(ID, kept.append)
    assert models[0].id == "m ***"
    assert not shows(b"".join(kept).decode())


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("status", [200, 400])
async def test_the_local_server_does_not_hand_on_what_its_upstream_echoes(echo, status):
    body = f'{{"id":"c","choices":[{{"message":{{"content":"{echo}"}}}}]}}'
    with answering(status, body.encode(), {}) as (url, _):
        executor = UpstreamExecutor(f"{url}/v1", KEY, timeout_seconds=20)
        try:
            done = await executor.run(Request("q1", "r1", "/v1/chat/completions", {"model": "m"}))
            shown = json.dumps(done.body)
        except RequestFailed as failed:
            shown = str(vars(failed))
        finally:
            await executor.close()
    assert "***" in shown
    assert not shows(shown)


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=40), st.data()
)
def test_no_mixture_of_escapes_hides_any_key(key, data):
    forms = ("{1}", "\\u{0:04x}", "\\u{0:04X}", "\\\\u{0:04x}")
    echo = "".join(data.draw(st.sampled_from(forms)).format(ord(c), c) for c in key)
    before, after = data.draw(st.text()), data.draw(st.text())
    shown = redacted_lines(f"{before}{echo}{after}".encode("utf-8", "replace"), key).decode()
    assert echo not in shown
    assert not shows(shown.removeprefix(before).removesuffix(after), key)
    assert key not in redacted(echo, key)


def test_honest_text_stays_as_it_is():
    text = 'half of "50%" \\u003cb\\u003e &amp; C:\\x \\u00e9 sk-Ab sk-other-key-1234'
    assert redacted(text, KEY) == text
    assert redacted_lines(text.encode(), KEY) == text.encode()


def test_a_long_run_of_backslashes_is_quick():
    text = "\\u0073" + "\\" * 500_000
    begun = process_time()
    assert redacted_lines(text.encode(), KEY) == text.encode()
    assert redacted(text, KEY) == text
    assert process_time() - begun < 30
