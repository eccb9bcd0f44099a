"""What a host sees before any call: names, schemas, annotations, sizes."""

import json
import re
from pathlib import Path

import pytest

from agent import agent
from doubleword_batch.jobs import replies
from doubleword_batch.settings import Settings
from tools.snapshots import RENEW, current, stored

ALL = [
    "create_batch_file",
    "upload",
    "create_batch",
    "get_status",
    "fetch_results",
    "cancel",
    "list",
    "retry_failed",
]
MAIN_PARAMETERS = {
    "create_batch_file": "source rows prompt system model endpoint response_schema params "
    "id_column limit output_path",
    "upload": "job path",
    "create_batch": "job completion_window metadata max_cost_usd",
    "get_status": "job wait_seconds",
    "fetch_results": "job output_path format query sample wait_seconds",
    "cancel": "job",
    "list": "kind status search limit after",
    "retry_failed": "job causes params",
}


async def definitions(settings, mode="auto"):
    async with agent(settings, mode) as a:
        return (await a.client.list_tools()).tools


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_eight_tools_have_their_names_and_main_parameters(settings, mode):
    tools = await definitions(settings, mode)
    assert [tool.name for tool in tools] == ALL
    for tool in tools:
        assert set(MAIN_PARAMETERS[tool.name].split()) <= set(tool.input_schema["properties"])
        assert tool.input_schema["additionalProperties"] is False


async def test_all_definitions_cost_at_most_1800_tokens(settings):
    shown = [
        tool.model_dump(by_alias=True, exclude_none=True, mode="json")
        for tool in await definitions(settings)
    ]
    assert len(json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode()) / 4 <= 1800


async def test_no_definition_carries_titles_or_unions_at_the_top(settings):
    for tool in await definitions(settings):
        text = json.dumps([tool.input_schema, tool.output_schema])
        assert '"title"' not in text
        assert not {"anyOf", "oneOf", "allOf"} & set(tool.input_schema)
        assert tool.output_schema["type"] == "object"


async def test_published_result_fields_are_fields_of_the_reports(settings):
    published = {
        "create_batch_file": replies.Created,
        "upload": replies.Uploaded,
        "create_batch": replies.Submitted,
        "get_status": replies.Status,
        "fetch_results": replies.Results,
        "cancel": replies.Cancelled,
        "list": replies.Listing,
        "retry_failed": replies.Retried,
    }
    for tool in await definitions(settings):
        fields = published[tool.name].model_json_schema(mode="serialization")["properties"]
        for name, schema in tool.output_schema["properties"].items():
            options = fields[name].get("anyOf", [fields[name]])
            kinds = {"object" if "$ref" in option else option.get("type") for option in options}
            assert schema["type"] in kinds | {"string"}, (tool.name, name)


async def test_what_programs_rely_on_is_named_and_nothing_is_required(settings):
    named = {
        "create_batch_file": "job rows cost_usd warnings next",
        "get_status": "job status complete counts next",
        "fetch_results": "job complete rows ledger output_path errors samples query warnings next",
        "list": "lines has_more after next",
        "retry_failed": "job rows next",
    }
    for tool in await definitions(settings):
        assert set(named.get(tool.name, "job").split()) <= set(tool.output_schema["properties"])
        assert "required" not in tool.output_schema


async def test_the_readme_lists_exactly_the_tools_that_exist(settings):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## The tools")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert listed == [tool.name for tool in await definitions(settings)]


async def test_annotations_tell_the_truth(settings):
    hints = {tool.name: tool.annotations for tool in await definitions(settings)}
    assert {name for name, hint in hints.items() if hint.read_only_hint} == {"list"}
    destructive = {
        name
        for name, hint in hints.items()
        if not hint.read_only_hint and hint.destructive_hint is not False
    }
    assert destructive == {"fetch_results", "cancel"}
    assert hints["retry_failed"].idempotent_hint is not True
    assert hints["create_batch"].idempotent_hint is True
    assert hints["create_batch_file"].open_world_hint is not False  # it may ask for prices


@pytest.mark.parametrize("also", [{}, {"DOUBLEWORD_API_KEY": "k"}])
async def test_read_only_mode_registers_no_tool_that_writes(environment, also):
    settings = Settings.from_environment({**environment, **also, "DOUBLEWORD_BATCH_READ_ONLY": "1"})
    tools = await definitions(settings)
    assert [tool.name for tool in tools] == ["get_status", "fetch_results", "list"]
    # Only there does get_status send no round of a cascade.
    assert [tool.name for tool in tools if tool.annotations.read_only_hint] == [
        "get_status",
        "list",
    ]


async def test_the_server_introduces_itself_with_the_workflow(settings):
    async with agent(settings, "legacy") as a:
        info = a.client.server_info
        instructions = a.client.instructions
    assert info.name == "doubleword-batch"
    assert info.version
    assert 3 <= len(instructions.splitlines()) <= 6
    assert "create_batch_file" in instructions


async def test_every_definition_is_stored_as_it_is_and_nothing_else_is(settings):
    now, before = await current(settings), stored()
    wrong = {
        "missing": sorted(now.keys() - before.keys()),
        "orphaned": sorted(before.keys() - now.keys()),
        "changed": sorted(name for name in now.keys() & before.keys() if now[name] != before[name]),
    }
    assert not any(wrong.values()), f"{wrong}; if the change is meant, run: {RENEW}"
