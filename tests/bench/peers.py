"""The others: `python peers.py CONTENDER FOLDER`, one JSON line with its seconds.

Runs in an environment of its own, without our package.
"""

import csv
import json
import sys
from pathlib import Path

from stopwatch import Stopwatch

PROMPT = "Classify this {category} review in one word: {text}"


def openai_batch(folder):
    """The PyPI package openai-batch, fed by the csv module."""
    from openai_batch import Batch
    from openai_batch.providers import all_providers

    provider = next(p for p in all_providers if p.name == "openai")
    provider.batch_input_max_bytes = provider.batch_input_max_requests = 1 << 40
    watch = Stopwatch()
    with (
        (folder / "table.csv").open(encoding="utf-8", newline="") as lines,
        Batch(submission_input_file=folder / "peer.jsonl", provider=provider) as batch,
    ):
        for row in csv.DictReader(lines):
            message = {"role": "user", "content": PROMPT.format(**row)}
            batch.add_to_batch(model="gpt-4o", max_tokens=100, messages=[message])
    return watch.taken()


def copy(folder):
    """What the disk allows: the request file, copied."""
    watch = Stopwatch()
    with (folder / "requests.jsonl").open("rb") as source, (folder / "copy").open("wb") as target:
        while block := source.read(1 << 20):
            target.write(block)
    return watch.taken()


def lines_of_requests(folder):
    """What iterating over the lines takes."""
    return _lines(folder / "requests.jsonl")


def lines_of_results(folder):
    """The same for the results."""
    return _lines(folder / "results.jsonl")


def orjson_loop(folder):
    """Every line decoded by orjson, four fields looked at."""
    import orjson

    watch = Stopwatch()
    seen = set()
    with (folder / "requests.jsonl").open("rb") as lines:
        for line in lines:
            request = orjson.loads(line)
            seen.add(request["custom_id"])
            assert request["method"] == "POST"
            assert request["body"]["model"], request["url"]
    return watch.taken()


def pydantic_loop(folder):
    """Every line validated by a pydantic model."""
    from pydantic import BaseModel

    class Request(BaseModel):
        custom_id: str
        method: str
        url: str
        body: dict

    watch = Stopwatch()
    seen = set()
    with (folder / "requests.jsonl").open("rb") as lines:
        for line in lines:
            seen.add(Request.model_validate_json(line).custom_id)
    return watch.taken()


def stdlib_collect(folder):
    """Results into a dict by json, joined to csv.DictReader's rows, written by json."""
    watch = Stopwatch()
    answers = {}
    with (folder / "results.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            result = json.loads(line)
            choice = result["response"]["body"]["choices"][0]
            answers[result["custom_id"]] = choice["message"]["content"]
    with (
        (folder / "table.csv").open(encoding="utf-8", newline="") as lines,
        (folder / "peer-answers.jsonl").open("w", encoding="utf-8") as output,
    ):
        for number, row in enumerate(csv.DictReader(lines), 1):
            row["answer"] = answers.get(f"r{number}")
            output.write(json.dumps(row, ensure_ascii=False) + "\n")
    return watch.taken()


def duckdb_collect(folder):
    """The same as one SQL statement, in order."""
    import duckdb

    watch = Stopwatch()
    duckdb.sql(f"""
        COPY (
            SELECT source.* EXCLUDE (number), response.body.choices[1].message.content AS answer
            FROM (
                SELECT row_number() OVER () AS number, *
                FROM read_csv('{folder / "table.csv"}', all_varchar = true, parallel = false)
            ) source
            LEFT JOIN read_json(
                '{folder / "results.jsonl"}', format = 'newline_delimited',
                columns = {{custom_id: 'VARCHAR', response: 'STRUCT(body STRUCT(choices
                    STRUCT(message STRUCT(content VARCHAR))[]))'}}
            ) results ON results.custom_id = 'r' || source.number
            ORDER BY source.number
        ) TO '{folder / "peer-answers.jsonl"}' (FORMAT json)
    """)  # noqa: S608  # our own folder
    return watch.taken()


def openai_upload(folder, base_url):
    """`client.files.create` of the openai SDK."""
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key="k")
    watch = Stopwatch()
    with (folder / "requests.jsonl").open("rb") as file:
        client.files.create(file=file, purpose="batch")
    return watch.taken()


def openai_download(folder, base_url):
    """`client.files.content` of the openai SDK."""
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key="k")
    watch = Stopwatch()
    client.files.content("file-1").write_to_file(folder / "peer-down.jsonl")
    return watch.taken()


def _lines(path):
    watch = Stopwatch()
    with path.open("rb") as lines:
        sum(1 for _ in lines)
    return watch.taken()


if __name__ == "__main__":
    contender, place, *rest = sys.argv[1:]
    print(json.dumps(globals()[contender](Path(place), *rest)))
