"""What a run left on the disk and at the server."""

import json

import httpx

FAST = ("--poll", "0.1", "--in-doubt", "2", "--patience", "20")


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ids_of(path):
    return sorted(line["custom_id"] for line in lines_of(path))


def batches_at(server):
    headers = {"Authorization": f"Bearer {server.token}"}
    page = httpx.get(f"{server.base_url}/batches", headers=headers, params={"limit": 100}).json()
    return page["data"]


def expected_ids(count):
    return sorted(f"r{number}" for number in range(1, count + 1))
