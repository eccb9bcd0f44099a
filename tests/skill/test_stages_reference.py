"""The reference on stages: its calls, made in the order of the page, give what it says."""

import csv
import json
import re

from agent import agent
from doubleword_batch.settings import Settings
from skill import markdown
from skill.places import SKILL

STAGES = SKILL / "references" / "stages.md"


def real(value, names):
    """Arguments with the names that the jobs got in the place of those on the page."""
    if isinstance(value, dict):
        return {key: real(inner, names) for key, inner in value.items()}
    if not isinstance(value, str) or not names:
        return value
    written = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.sub(written, lambda found: names[found[0]], value)


async def test_the_chain_of_the_stages_reference_runs_as_it_stands(tmp_path):
    (tmp_path / "reports").mkdir()
    for name in ("north", "south"):
        text = "\n\n".join(f"Part {n} of {name}. " + "It may rain. " * 120 for n in range(12))
        (tmp_path / "reports" / f"{name}.txt").write_text(text, encoding="utf-8")
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_ROOTS": str(tmp_path),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    calls = [json.loads(line) for line in markdown.lines(STAGES, "json")]
    names, replies, built = {}, [], None
    async with agent(Settings.from_environment(environment)) as a:
        for call in calls:
            if call["tool"] == "create_batch":
                names[call["arguments"]["job"]] = built
            arguments = real(call["arguments"], names)
            reply = await a.calls(call["tool"], **arguments)
            replies.append(reply)
            if call["tool"] == "create_batch_file":
                built = reply["job"]
            elif call["tool"] == "create_batch":
                await a.ends(built)

    rows = [reply["rows"] for reply in replies if "requests" in reply.fields]
    assert rows[0] > 2
    assert rows[1:] == [2, 2]
    with (tmp_path / "risks.csv").open(encoding="utf-8", newline="") as file:
        kept = list(csv.DictReader(file))
    assert [row["name"] for row in kept] == ["north.txt", "south.txt"]
    assert {row["verdict"] for row in kept} <= {"keep", "redo"}
