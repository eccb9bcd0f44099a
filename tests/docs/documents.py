"""The README and the pages of docs/: their blocks of code, their tables, and what runs them."""

import ast
import asyncio
import json
import re
from pathlib import Path

from anyio import fail_after

from doubleword_batch.local import LocalConfig, LocalServer

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *PAGES]


def section(path, title):
    """The text below a second-level heading, its subsections with it."""
    text = path.read_text(encoding="utf-8")
    assert f"\n## {title}\n" in text, f"{path.name} has no section {title}"
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


async def run_python(example, tmp_path, server, **names):
    """Run an example as a notebook would, against a local server that simulates."""
    here = example.replace("https://api.doubleword.ai/v1", server.base_url)
    quick = here.replace("BatchOpenAI(", "BatchOpenAI(batch_window_seconds=0.1, ").replace(
        ", )", ")"
    )
    code = compile(quick, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    known = {
        "Path": lambda name: tmp_path / name,
        "asyncio": asyncio,
        "conversations": [[{"role": "user", "content": "x"}]],
        "key": server.token,
        "model": "m",
    } | names
    with fail_after(60):
        running = eval(code, known)  # noqa: S307  # the documents' own lines
        if running is not None:
            await running
    return known


def prepare_examples(folder, monkeypatch):
    """Make the files that the documents' examples read, and let the simulator answer them."""
    for name in ("DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOUBLEWORD_BATCH_HOME", str(folder / "client"))
    monkeypatch.setenv("DOUBLEWORD_BATCH_LOCAL_EXECUTOR", "simulate")
    monkeypatch.chdir(folder)
    (folder / "reviews.csv").write_text("text\ngood\nbad\n", encoding="utf-8")
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (folder / "requests.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")


def served(folder):
    """A local server that simulates, in a folder of its own."""
    return LocalServer(LocalConfig(home=folder))


def shell_commands(text):
    """Every command of the shell blocks, chains taken apart."""
    found = re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in found for line in block.splitlines() if line.strip()]
    return [command for line in lines for command in line.split(" && ")]
