"""A local server in a process of its own: `serve_echo.py HOME LOG CONCURRENCY [GATE]`.

Prints its address when it listens, and runs until it is killed. Requests named `hold-` wait until
the file GATE exists.
"""

import asyncio
import sys
import threading
from pathlib import Path

from contract.stand_in import Echo
from doubleword_batch.local import LocalConfig, LocalServer


class Gated(Echo):
    """Opens its gate when a file appears."""

    async def run(self, request):
        while "hold" in request.custom_id and not self.gate.is_set():
            if GATE.exists():
                self.gate.set()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.002)
        return await super().run(request)


HOME, LOG, CONCURRENCY = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
GATE = Path(sys.argv[4]) if len(sys.argv) > 4 else Path("/nonexistent")

with LocalServer(LocalConfig(HOME), executor=Gated(CONCURRENCY, log=LOG)) as server:
    print(server.base_url, flush=True)
    threading.Event().wait()
