"""What is built on the openai SDK runs on BatchOpenAI: langchain, instructor, pydantic-ai, and
openai 2.x.

Each runs in an environment of its own, because their pins differ from ours; uv makes it.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS, RUN_SECONDS = 240, 90

LANGCHAIN_AND_INSTRUCTOR = """
import instructor
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

async def main(client):
    chat = ChatOpenAI(
        model="m", async_client=client.chat.completions, root_async_client=client, api_key="x"
    )
    embeddings = OpenAIEmbeddings(
        model="e", async_client=client.embeddings, api_key="x", check_embedding_ctx_length=False
    )
    patched = instructor.from_openai(client)
    texts, person, whole, vectors = await asyncio.gather(
        chat.abatch(["one", "two", "three"]),
        chat.with_structured_output(Person).ainvoke("who?"),
        patched.chat.completions.create(model="m", messages=ASKED, response_model=Person),
        embeddings.aembed_documents(["a", "b"]),
    )
    streamed = "".join([part.content async for part in chat.astream("stream")])
    assert all(text.content.startswith("[simulated]") for text in texts)
    assert streamed.startswith("[simulated]")
    assert isinstance(person, Person) and isinstance(whole, Person)
    return [len(vector) for vector in vectors]
"""

PYDANTIC_AI = """
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

async def main(client):
    provider = OpenAIProvider(openai_client=client)
    chat = OpenAIChatModel("m", provider=provider)
    responses = OpenAIResponsesModel("m", provider=provider)
    agents = [Agent(chat), Agent(responses)]
    texts = await asyncio.gather(*(agent.run(text) for agent in agents for text in ("a", "b", "c")))
    assert all(text.output.startswith("[simulated]") for text in texts)
    by_schema, by_tool = await asyncio.gather(
        Agent(chat, output_type=NativeOutput(Person)).run("who?"),
        Agent(chat, output_type=Person).run("who?"),
    )
    assert isinstance(by_schema.output, Person) and isinstance(by_tool.output, Person)
    async with Agent(chat).run_stream("stream") as streamed:
        assert (await streamed.get_output()).startswith("[simulated]")
    vector = await client.embeddings.create(model="e", input=["a", "b"])
    return [len(embedded.embedding) for embedded in vector.data]
"""

OPENAI_2 = """
async def main(client):
    parsed, raw, stream, vector = await asyncio.gather(
        client.chat.completions.parse(model="m", messages=ASKED, response_format=Person),
        client.chat.completions.with_raw_response.create(model="m", messages=ASKED),
        client.chat.completions.create(model="m", messages=ASKED, stream=True),
        client.embeddings.create(model="e", input=["a", "b"]),
    )
    assert isinstance(parsed.choices[0].message.parsed, Person)
    assert raw.parse().choices and [chunk async for chunk in stream]
    assert [model.id async for model in client.models.list()]
    try:
        await client.chat.completions.create(model="m", messages=[])
    except openai.BadRequestError as error:
        assert error.response.json()["error"]
    async def key():
        return client.api_key  # of the local server, which the first live call has found
    place = dict(base_url=str(client.base_url), batch_provider="doubleword")
    quick = dict(batch_window_seconds=0.2, poll_interval_seconds=0.2)
    authorized = dict(api_key="unused", default_headers={"authorization": f"Bearer {await key()}"})
    for access in (dict(api_key=key, default_query={"v": "1"}), authorized):
        async with BatchOpenAI(**access, **place, **quick) as carried:
            assert (await carried.chat.completions.create(model="m", messages=ASKED)).choices
    return [len(embedded.embedding) for embedded in vector.data]
"""

FRAME = """
import asyncio, json, openai
from pydantic import BaseModel
from doubleword_batch import BatchOpenAI

ASKED = [{"role": "user", "content": "Who?"}]

class Person(BaseModel):
    name: str
    age: int

%s

async def framed():
    async with BatchOpenAI(batch_window_seconds=0.2, poll_interval_seconds=0.2) as client:
        result = await main(client)
        batches = len([batch async for batch in client.batches.list()])
    print(json.dumps([openai.__version__, result, batches]))

asyncio.run(framed())
"""


def environment_with(folder, *packages):
    """An interpreter with these packages and ours; skips when it cannot be made."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not here to make the environment")
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    make = [uv, "venv", "-q", "--python", sys.executable, str(folder / "env")]
    subprocess.run(make, check=True, timeout=INSTALL_SECONDS)
    install = [uv, "pip", "install", "-q", "--python", str(python), str(ROOT), *packages]
    done = subprocess.run(
        install, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
    )
    if done.returncode:
        pytest.skip(f"the packages cannot be installed here: {done.stderr[-200:]}")
    return python


@pytest.mark.parametrize(
    ("packages", "program", "major"),
    [
        (["langchain-openai", "instructor"], LANGCHAIN_AND_INSTRUCTOR, "3"),
        (["pydantic-ai-slim[openai]", "openai>=3"], PYDANTIC_AI, "3"),
        (["openai==2.54.*"], OPENAI_2, "2"),
    ],
    ids=["langchain-and-instructor", "pydantic-ai", "openai-2"],
)
def test_it_runs_on_batch_openai(tmp_path, packages, program, major):
    python = environment_with(tmp_path, *packages)
    script = tmp_path / "program.py"
    script.write_text(FRAME % textwrap.dedent(program), encoding="utf-8")
    ran = subprocess.run(
        [python, script],
        capture_output=True,
        check=False,
        text=True,
        timeout=RUN_SECONDS,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    version, dimensions, batches = json.loads(ran.stdout.splitlines()[-1])
    assert version.partition(".")[0] == major
    assert dimensions == [384, 384]
    assert batches >= 1
