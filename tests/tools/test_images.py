"""A table whose rows name images, through the tools."""

import json
from base64 import b64encode
from pathlib import Path

import pytest

from agent import agent
from doubleword_batch.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
ORDER = {"source": "shop.csv", "prompt": "What is {{ name }}?", "image_column": "photo"}


@pytest.fixture
def shop(work):
    (work / "photos").mkdir()
    for name in ("a", "b"):
        (work / "photos" / f"{name}.png").write_bytes(PNG + name.encode())
    rows = "a,photos/a.png\nb,photos/b.png\nc,https://example.org/c.jpg\n"
    (work / "shop.csv").write_text("name,photo\n" + rows, encoding="utf-8")
    return work


def images_of(created):
    lines = Path(created["paths"][0]).read_text(encoding="utf-8").splitlines()
    bodies = [json.loads(line)["body"] for line in lines]
    return [body["messages"][-1]["content"][1]["image_url"]["url"] for body in bodies]


async def test_each_row_is_asked_about_its_own_image_and_joined_to_its_answer(settings, shop):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER)
        assert images_of(created) == [
            "data:image/png;base64," + b64encode(PNG + b"a").decode(),
            "data:image/png;base64," + b64encode(PNG + b"b").decode(),
            "https://example.org/c.jpg",
        ]
        results = await a.runs_job(shop / "answers.jsonl", **ORDER)
    assert results["ledger"] == {"ok": 3}
    lines = (shop / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["photo"] for line in lines] == [
        "photos/a.png",
        "photos/b.png",
        "https://example.org/c.jpg",
    ]


async def test_the_same_images_give_the_same_job_and_a_changed_one_another(settings, shop):
    async with agent(settings) as a:
        first = await a.calls("create_batch_file", **ORDER)
        again = await a.calls("create_batch_file", **ORDER)
        (shop / "photos" / "b.png").write_bytes(PNG + b"another picture")
        changed = await a.calls("create_batch_file", **ORDER)
        assert (again["job"], again["reused"], first["reused"]) == (first["job"], True, False)
        assert (changed["job"] != first["job"], changed["reused"]) == (True, False)
        assert images_of(changed)[1] != images_of(first)[1]
        jobs = await a.calls("list")
    assert len(jobs["lines"]) == 2


@pytest.mark.parametrize(
    ("cell", "code", "message"),
    [
        ("../secret.png", "outside_roots", "secret.png"),
        ("photos/none.png", "file_not_found", "none.png"),
        ("shop.csv", "invalid_image", "is not a PNG"),
        ("http://example.org/a.png", "invalid_image", "not an https URL"),
        ("", "invalid_image", "has no image"),
    ],
)
async def test_an_image_that_cannot_be_used_ends_the_build_and_names_its_row(
    settings, shop, cell, code, message
):
    (shop.parent / "secret.png").write_bytes(PNG)
    (shop / "shop.csv").write_text(f"name,photo\na,photos/a.png\nb,{cell}\n", encoding="utf-8")
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER)
        assert reply["error"]["code"] == code
        assert "row 2" in reply.text.lower()
        assert message in reply.text
        assert (await a.calls("list")).fields.get("lines", []) == []


async def test_an_unknown_image_column_is_named_with_the_columns_that_exist(settings, shop):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **{**ORDER, "image_column": "picture"})
    assert "photo" in reply.text


@pytest.mark.parametrize("source", ["shop.csv", "photos"])
async def test_images_for_a_model_that_sees_none_are_refused_when_the_job_is_built(
    environment, shop, source
):
    variables = environment | {"DOUBLEWORD_API_KEY": "k", "DOUBLEWORD_BATCH_PROVIDER": "doubleword"}
    column = {"image_column": "photo"} if source == "shop.csv" else {}
    order = {"source": source, "prompt": "What is {{ name }}?", "model": "openai/gpt-oss-20b"}
    async with agent(Settings.from_environment(variables)) as a:
        reply = await a.fails("create_batch_file", **order, **column)
    assert "openai/gpt-oss-20b does not take images" in reply["error"]["message"]
    assert "Name a vision model" in reply.text
