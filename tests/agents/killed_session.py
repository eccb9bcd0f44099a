"""A session that submits a job and dies at once; it prints what it counted.

python killed_session.py WORK HOME
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))

from agents.journeys import Place  # found by the path above


async def main():
    place = Place(Path(sys.argv[1]), Path(sys.argv[2]))
    async with place.session() as a:
        created = await a.does("create_batch_file", source="reviews.csv", prompt="{{ text }}")
        await a.follows_to("create_batch", created)
        a.client = None
        counts = asdict(a)
        kept = ("calls", "sent_bytes", "received_bytes", "largest_bytes")
        print(json.dumps({name: counts[name] for name in kept}), flush=True)
        os._exit(9)  # no farewell: neither the server nor the store is closed


anyio.run(main)
