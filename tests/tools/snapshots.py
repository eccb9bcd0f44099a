"""What a host sees before any call, stored as files; run this file to renew them.

    uv run python tests/tools/snapshots.py

A change of what an agent sees then shows in the diff of a commit.
"""

import json
import tempfile
from pathlib import Path

import anyio
from mcp.client.client import Client

from doubleword_batch.mcp_server import build_server
from doubleword_batch.settings import Settings

FOLDER = Path(__file__).parent / "snapshots"
RENEW = "uv run python tests/tools/snapshots.py"


async def current(settings):
    """The text of each snapshot, by the name of its file: one a tool, and one of the server."""
    async with Client(build_server(settings), mode="legacy") as client:
        definitions = {
            "server": {
                "name": client.server_info.name,
                "instructions": client.instructions.splitlines(),
            }
        }
        for tool in (await client.list_tools()).tools:
            definitions[tool.name] = tool.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {
        f"{name}.json": json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
        for name, fields in definitions.items()
    }


def stored():
    """The snapshots that lie in the folder, by the name of their file."""
    return {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


async def renew():
    with tempfile.TemporaryDirectory() as home:
        texts = await current(Settings.from_environment({"DOUBLEWORD_BATCH_HOME": home}))
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    anyio.run(renew)
