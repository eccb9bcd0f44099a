"""A ready request file makes nobody fetch what lies inside of a network, whatever its media."""

import json

import pytest

from agent import agent
from doubleword_batch.providers import profile
from doubleword_batch.requests import validate_request_file
from skill.places import script_module

validate, limits = script_module("validate"), script_module("limits")
INSIDE = "https://169.254.169.254/latest"
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


def user(part):
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, part]}]}


def put_in(part):
    return {"input": [{"role": "user", "content": [part]}]}


FETCHED = {
    "an image": (CHAT, user({"type": "image_url", "image_url": {"url": "@"}})),
    "an image by its address alone": (CHAT, user({"type": "image_url", "image_url": "@"})),
    "an image without a type": (CHAT, user({"image_url": "@"})),
    "a video": (CHAT, user({"type": "video_url", "video_url": {"url": "@"}})),
    "a sound": (CHAT, user({"type": "audio_url", "audio_url": {"url": "@"}})),
    "a sound in place of its data": (
        CHAT,
        user({"type": "input_audio", "input_audio": {"data": "@"}}),
    ),
    "a file in place of its data": (CHAT, user({"type": "file", "file": {"file_data": "@"}})),
    "an image as some servers take it": (CHAT, user({"type": "image", "image": "@"})),
    "an image of a tool": (
        CHAT,
        {"messages": [{"role": "tool", "content": [{"type": "image_url", "image_url": "@"}]}]},
    ),
    "an input image": (RESPONSES, put_in({"type": "input_image", "image_url": "@"})),
    "an input file": (RESPONSES, put_in({"type": "input_file", "file_url": "@"})),
    "a screenshot": (
        RESPONSES,
        {"input": [{"type": "computer_call_output", "output": {"image_url": "@"}}]},
    ),
    "a variable of a stored prompt": (
        RESPONSES,
        {"prompt": {"id": "p", "variables": {"x": {"type": "input_image", "image_url": "@"}}}},
    ),
    "a source": (MESSAGES, user({"type": "image", "source": {"type": "url", "url": "@"}})),
    "a document of a tool's result": (
        MESSAGES,
        user({"type": "tool_result", "content": [{"type": "document", "source": {"url": "@"}}]}),
    ),
}


def line(url, body, address, custom_id="a"):
    text = json.dumps({"model": "m"} | body).replace('"@"', json.dumps(address))
    return f'{{"custom_id": "{custom_id}", "method": "POST", "url": "{url}", "body": {text}}}\n'


@pytest.fixture
def kinds(tmp_path):
    """The faults of request lines, which the package and the skill tell alike."""

    def check(text):
        path = tmp_path / "requests.jsonl"
        path.write_text(text, encoding="utf-8", newline="\n")
        report = validate_request_file(path, profile("generic"))
        found = {group.kind: group.first[0].message for group in report.groups}
        of_skill = validate.check_file(path, limits.Limits()).faults
        assert list(of_skill) == list(found)
        if "media_address" in found:
            assert of_skill["media_address"][0].message == found["media_address"]
        return found

    return check


@pytest.mark.parametrize("case", FETCHED)
def test_an_address_inside_is_a_fault_wherever_servers_look_for_media(kinds, case):
    url, body = FETCHED[case]
    found = kinds(line(url, body, INSIDE))
    assert list(found) == ["media_address"]
    assert f"is «{INSIDE}», which does not lead to a public server." in found["media_address"]


@pytest.mark.parametrize("case", FETCHED)
@pytest.mark.parametrize(
    "address", ["https://example.org/a.png?x=1", "data:image/png;base64,/9j/iVBORw0KGgo="]
)
def test_a_public_address_and_the_content_itself_are_taken(kinds, case, address):
    url, body = FETCHED[case]
    assert kinds(line(url, body, address)) == {}


@pytest.mark.parametrize(
    "address",
    [
        *("http://example.org/a.png", "file:///etc/passwd", "gopher://10.0.0.1", "s3://bucket/a"),
        *("https://u:p@example.org/", "https://[::1]/", "https://0xA9FEA9FE/", "https://lvh.me/"),
    ],
)
def test_only_plain_https_is_fetched(kinds, address):
    url, body = FETCHED["an image"]
    assert list(kinds(line(url, body, address))) == ["media_address"]


def test_a_name_in_escapes_hides_nothing(kinds):
    url, body = FETCHED["an image"]
    text = line(url, body, INSIDE)
    assert list(kinds(text.replace("image_url", "im\\u0061ge\\u005furl"))) == ["media_address"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": f'{{"image_url": "{INSIDE}"}}'},
        {"type": "tool_use", "id": "t", "name": "get", "input": {"image_url": INSIDE}},
        {"type": "search_result", "source": "http://intranet/wiki", "title": "A", "content": []},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": [], "image_url": None, "source": ["http://intranet/"]},
    ],
)
def test_what_is_only_quoted_is_not_an_address(kinds, part):
    assert kinds(line(MESSAGES, user(part), "")) == {}


def test_a_number_that_nobody_reads_beside_an_address_is_a_fault_of_its_line(kinds):
    url, body = FETCHED["an image"]
    text = line(url, body, INSIDE).replace('"type"', '"detail": 1e999, "type"', 1)
    assert list(kinds(text)) == ["not_json"]


async def test_an_agent_uploads_no_file_with_an_address_inside(settings, work):
    url, body = FETCHED["an image"]
    file = work / "ready.jsonl"
    text = line(url, body, "https://example.org/a.png") + line(url, body, INSIDE, "b")
    file.write_text(text, encoding="utf-8", newline="\n")
    async with agent(settings) as a:
        refused = await a.fails("upload", path=str(file))
    assert refused["error"]["code"] == "invalid_request_file"
    assert "media_address" in refused["error"]["message"]
