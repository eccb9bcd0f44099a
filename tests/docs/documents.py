"""The README and the pages of docs/: their blocks of code, their tables, and what runs them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

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


def run_example(example, folder, server):
    """Run an example as a reader would: pasted into a file, unchanged.

    Without a key, against the local server that simulates; one that reads the key, against
    `server`.
    """
    (folder / "example.py").write_text(example, encoding="utf-8")
    key = {"DOUBLEWORD_API_KEY": server.token, "DOUBLEWORD_BASE_URL": server.base_url}
    environment = os.environ | (key if "DOUBLEWORD_API_KEY" in example else {})
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{example}\n{done.stderr}"


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
