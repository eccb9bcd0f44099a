"""A console over a state directory of its own, answered by the simulator, on a real socket."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import anyio
import httpx
import uvicorn

from doubleword_batch import Jobs
from doubleword_batch.cli.servers import PATIENCE_SECONDS, console_roots
from doubleword_batch.console.access import Access
from doubleword_batch.console.app import build_app
from doubleword_batch.console.context import Console
from doubleword_batch.loopback import listen_on
from doubleword_batch.settings import Settings

WAIT_SECONDS = 60


def settings_of(home, **more):
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(home),
            "DOUBLEWORD_BATCH_PROVIDER": "local",
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
            **more,
        }
    )


@dataclass
class Running:
    """A console that runs in a thread of this process."""

    home: Path
    access: Access
    base: str

    @contextmanager
    def browser(self, *, enter=True):
        """An HTTP client that has been let in, and sends what a browser would send with a form."""
        headers = {"origin": self.base}
        with httpx.Client(base_url=self.base, headers=headers, timeout=WAIT_SECONDS) as client:
            if enter:
                client.get(f"/enter?token={self.access.entry_token}").raise_for_status()
            yield client

    def page_token(self, client):
        return self.access.page_token(client.cookies[self.access.cookie_name])

    def post(self, client, path, **fields):
        fields.setdefault("page_token", self.page_token(client))
        return client.post(path, data=fields)


@contextmanager
def running(
    home,
    *,
    read_only=False,
    port=0,
    settings=None,
    key="a key of the tests",
    patience=PATIENCE_SECONDS,
):
    """A console on that state directory."""
    settings = settings or settings_of(home)
    listener = listen_on(port, who="The console", backlog=64)
    access = Access.of(key, listener.getsockname()[1])
    roots = console_roots(settings)
    jobs = Jobs(settings, roots=roots, max_retry_seconds=patience)
    console = Console(jobs, access, read_only)
    config = uvicorn.Config(
        build_app(console), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)

    async def serve():
        try:
            await server.serve(sockets=[listener])
        finally:
            with anyio.CancelScope(shield=True):
                await console.close()

    thread = threading.Thread(target=anyio.run, args=(serve,), daemon=True)
    thread.start()
    try:
        yield Running(home, access, f"http://127.0.0.1:{access.port}")
    finally:
        server.should_exit = True
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "score": {"type": "number"}},
    "required": ["mood", "score"],
    "additionalProperties": False,
}


def write_reviews(folder, rows=60):
    path = folder / "reviews.csv"
    lines = [f"{n},{['kettle', 'lamp'][n % 2]},review number {n}" for n in range(rows)]
    path.write_text("id,product,review\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


async def finish(home, source, **request):
    """A job from its source to its end; its name."""
    async with Jobs(settings_of(home)) as jobs:
        job = await jobs.create(str(source), **request)
        await job.submit()
        await job.wait(WAIT_SECONDS)
        await job.results()
        return job.name


def ended(browser, job):
    """The job's page once it has ended."""
    until = monotonic() + WAIT_SECONDS
    while monotonic() < until:
        browser.get(f"/jobs/{job}/failures")  # this asks the provider
        page = browser.get(f"/jobs/{job}").text
        if "Look at the answers" in page:
            return page
    raise AssertionError(f"{job} did not end: {page}")
