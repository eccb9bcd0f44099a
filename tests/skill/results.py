"""What a run left on the disk and at the server."""

import httpx

from tables import rows_of

FAST = ("--poll", "0.1", "--in-doubt", "2", "--patience", "20")


def ids_of(path):
    return sorted(line["custom_id"] for line in rows_of(path))


def batches_at(server):
    headers = {"Authorization": f"Bearer {server.token}"}
    page = httpx.get(f"{server.base_url}/batches", headers=headers, params={"limit": 100}).json()
    return page["data"]


def expected_ids(count):
    return sorted(f"r{number}" for number in range(1, count + 1))
