"""Make the pictures of docs/console.md: `just pictures`.

A console over a state directory of its own, one job with failures and one that waits, answered by
the simulator. It needs Debian's chromium.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import anyio
from playwright.sync_api import Page, sync_playwright

from doubleword_batch import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from running_console import WAIT_SECONDS, finish, running

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = {"width": 1180, "height": 720}
ROWS = 1200

_PRODUCTS = ("kettle", "lamp", "chair", "desk")
_OPINIONS = ("is fine", "is lovely", "is broken", "is too loud for mornings", "does what it should")
_SCHEMA = {
    "type": "object",
    "properties": {
        "sentiment": {"enum": ["good", "bad", "mixed"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
    },
    "required": ["sentiment", "score"],
    "additionalProperties": False,
}
_PROMPT = "What does the customer of the {{ product }} feel?\n\n{{ review }}"
_TOO_LONG = "The prompt is longer than the model's context."
_FAULTS = Faults(
    requests=(
        RequestFault(fault="error", status=400, message=_TOO_LONG, match=Match(every=23)),
        RequestFault(fault="truncated", match=Match(every=31)),
        RequestFault(fault="refusal", match=Match(every=97)),
    )
)


def write_reviews(folder: Path) -> Path:
    """A table of opinions about four products."""
    path = folder / "reviews.csv"
    lines = ["id,product,review,stars"]
    for n in range(ROWS):
        product, opinion = _PRODUCTS[n % 4], _OPINIONS[n * 7 % 5]
        lines.append(f"{n},{product},The {product} {opinion}: number {n}.,{1 + n * 7 % 5}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


async def make_jobs(home: Path, source: Path) -> str:
    """A job with failures, and a smaller one beside it; the first one's name."""
    with LocalServer(LocalConfig(home=home, faults=_FAULTS)):
        name = await finish(home, source, prompt=_PROMPT, response_schema=_SCHEMA)
        await finish(home, source, prompt="In one word: {{ review }}", limit=5)
    return name


def take(page: Page, name: str) -> None:
    """One picture, when the page has what it loads by itself."""
    page.wait_for_function("!document.querySelector('[data-load]:empty:not([data-quiet])')")
    page.screenshot(path=IMAGES / f"console-{name}.png")
    print(f"docs/images/console-{name}.png")


def main() -> int:
    """Write the pictures; the exit code is 1 where there is no browser."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("There is no chromium; Debian's package of that name has one.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        home, source = Path(folder) / "home", write_reviews(Path(folder))
        job = anyio.run(make_jobs, home, source)
        with running(home) as console, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(3_000 * WAIT_SECONDS)
            page.goto(console.access.first_address)
            page.wait_for_url(f"{console.base}/")
            take(page, "jobs")
            for name in ("answers", "failures", "judge"):
                page.goto(f"{console.base}/jobs/{job}/{name}")
                take(page, name)
            page.goto(f"{console.base}/new")
            page.set_input_files("#file", source)
            page.wait_for_url("**/new/*")
            page.get_by_label("Prompt of each row").fill(_PROMPT)
            page.wait_for_selector("#rendered >> text=The kettle is fine")
            take(page, "new-job")
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
