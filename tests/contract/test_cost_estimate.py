"""GET /v1/files/{id}/cost-estimate, as the real server has it."""

import asyncio
import json

from contract.stand_in import line
from doubleword_batch.local.store import LocalDatabase, files
from doubleword_batch.local.store.files import InputLine


def test_the_cost_estimate_counts_requests_and_tokens_and_costs_nothing(caller):
    chat = {"model": "chat-1", "x": "y" * 370}
    file = caller.upload(
        line("a", body=chat),
        line("b", body=chat),
        line("c", url="/v1/embeddings", body={"model": "embed-1", "input": "z" * 60}),
    )

    estimate = caller.http.get(f"/files/{file['id']}/cost-estimate").json()

    assert estimate["file_id"] == file["id"]
    assert estimate["total_requests"] == 3
    assert estimate["total_estimated_cost"] == "0"
    by_model = {model["model"]: model for model in estimate["models"]}
    size = len(json.dumps(chat, separators=(",", ":")))
    assert by_model["chat-1"]["estimated_input_tokens"] == 2 * size // 4
    assert by_model["chat-1"]["estimated_output_tokens"] == 2 * size // 4 * 11 // 10
    assert by_model["embed-1"]["estimated_output_tokens"] == 1
    assert by_model["embed-1"]["estimated_cost"] == "0"


def test_the_cost_estimate_of_a_large_file_takes_no_longer_than_that_of_a_small_one(tmp_path):
    steps = []

    def add(connection, count):
        body = b'{"model":"chat-1"}'
        rows = (InputLine(str(n), "/v1/embeddings", "chat-1", body) for n in range(count))
        return files.add_input_file(
            connection, rows, filename="f", size_bytes=1, now=0, life_seconds=None
        )

    def estimated(connection, file):
        connection.set_progress_handler(lambda: steps.append(1), 1)
        try:
            return files.estimate_cost(connection, file)
        finally:
            connection.set_progress_handler(None, 0)

    async def estimate(count):
        steps.clear()
        file = await database.write(add, count)
        found = await database.read(estimated, file)
        assert found["total_requests"] == count
        return len(steps)

    async def both():
        return await estimate(2), await estimate(2_000)

    database = LocalDatabase(tmp_path / "store.sqlite3")
    try:
        few, many = asyncio.run(both())
    finally:
        database.close()
    assert many == few


def test_the_cost_estimate_learns_from_what_a_model_answered(caller):
    file = caller.upload(line("a"), line("b"))
    caller.wait(caller.post_batch(file["id"]).json()["id"])
    estimate = caller.http.get(f"/files/{file['id']}/cost-estimate").json()
    assert estimate["total_estimated_output_tokens"] == 4
