"""What was asked and paid for beside one answer has its place in the table."""

import base64
import json
import struct

import pytest

from doubleword_batch.jobs.export.write_table import write_table
from doubleword_batch.jobs.extra_columns import extra_columns, spec_from_bodies


@pytest.fixture
def written(tmp_path):
    def write(job):
        for form in ("jsonl", "csv", "parquet"):
            write_table(job.table(), tmp_path / f"out.{form}", form)
        lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return write


def choice(index, text, **more):
    message = {"content": text} | more.pop("message", {})
    return {"index": index, "message": message, "finish_reason": "stop"} | more


async def test_all_answers_of_n_above_1_are_in_a_column(finish, written, tmp_path):
    (tmp_path / "t.csv").write_text("t\na\n")
    body = {"choices": [choice(1, "second"), choice(0, "first")]}
    [row] = written(await finish("t.csv", body, spec={"params": {"n": 2}}))
    assert (row["answer"], row["answers"]) == ("first", ["first", "second"])


async def test_logprobs_and_speech_that_were_asked_for_are_columns(finish, written, tmp_path):
    (tmp_path / "t.csv").write_text("t\na\n")
    speech = {"message": {"content": None, "audio": {"data": "UklG", "transcript": "said"}}}
    body = {"choices": [choice(0, None, logprobs={"content": [{"token": "s"}]}, **speech)]}
    spec = {"params": {"logprobs": True, "modalities": ["text", "audio"]}}
    [row] = written(await finish("t.csv", body, spec=spec))
    assert (row["answer"], row["audio"]) == ("said", "UklG")
    assert row["logprobs"] == {"content": [{"token": "s"}]}


async def test_embeddings_in_base64_are_numbers(finish, written, tmp_path):
    (tmp_path / "t.csv").write_text("t\na\n")
    data = base64.b64encode(struct.pack("<3f", 0.5, 0.25, 0.125)).decode()
    body = {"data": [{"embedding": data}]}
    [row] = written(await finish("t.csv", body, endpoint="/v1/embeddings"))
    assert row["embedding"] == [0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("params", "columns"),
    [
        ({}, []),
        ({"n": 1, "logprobs": False, "modalities": ["text"]}, []),
        ({"n": 3}, ["answers"]),
        ({"logprobs": 0}, ["logprobs"]),
        ({"include": ["message.output_text.logprobs"]}, ["logprobs"]),
        ({"audio": {"voice": "x"}}, ["audio"]),
    ],
)
def test_the_parameters_say_which_columns_there_are(params, columns):
    assert [name for name, wanted in extra_columns(params).items() if wanted] == columns
    assert extra_columns(spec_from_bodies([params]).get("params", {})) == extra_columns(params)
