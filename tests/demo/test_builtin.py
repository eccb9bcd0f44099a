"""The demo as it is meant: the model really answers, on this machine, through the MCP tools."""

import csv

import jsonschema

from doubleword_batch.demo import job
from doubleword_batch.demo.folder import DATA_FILE


def test_the_built_in_model_answers_every_row_with_a_topic(demo, home_with_models):
    (demo.home / "local").mkdir(parents=True)
    demo.home.chmod(0o700)
    (demo.home / "local" / "models").symlink_to(home_with_models / "local" / "models")
    run = demo.run("--json", timeout=600, DOUBLEWORD_BATCH_LOCAL_EXECUTOR="")
    assert run.code == 0, run.stderr
    with (run.folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (run.folder / DATA_FILE).open(encoding="utf-8", newline="") as file:
        source = list(csv.DictReader(file))
    assert len(rows) == 48
    assert [row["id"] for row in rows] == [row["id"] for row in source]
    for row in rows:
        jsonschema.validate({"topic": row["topic"]}, job.SCHEMA)
    result = run.result
    assert result["model"] == job.MODEL
    assert "demo model" in result["provider"]
    assert all(call["reply_bytes"] <= 2048 for call in result["calls"])
    # Guessing would agree on 8; a model that was asked something else, on about as many.
    assert result["agreed"] > 24
