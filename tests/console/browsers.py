"""Chromium, driven by Playwright; what a page of the console must not do is looked for."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import anyio
import pytest

from running_console import WAIT_SECONDS

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium; Debian's package of that name has one"
)

_REPORT = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(event.violatedDirective + " " + event.blockedURI + " " + event.sample));
"""


WAYS_TO_LOOK = (
    {"color_scheme": "light", "viewport": {"width": 1440, "height": 900}},
    {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
)


def check_looks(page):
    """See to it that axe finds nothing, and that nothing sticks out to the right."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = [
        (fault["id"], [node["html"][:120] for node in fault["nodes"][:3]])
        for fault in axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    ]
    assert found == [], page.url
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], page.url


def run_apart(work):
    """Run an async function in a thread: Playwright keeps a loop of its own in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(anyio.run, work).result(WAIT_SECONDS)


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens a console in a context of its own; sees to it that no page does what it must not."""

    @contextmanager
    def open_console(console, **options):
        context = chromium.new_context(**options)
        context.set_default_timeout(3_000 * WAIT_SECONDS)  # a loaded machine takes its time
        context.add_init_script(_REPORT)
        seen = SimpleNamespace(dialogs=[], elsewhere=[], violations=[], errors=[])

        def look_at(page):
            page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.accept()))
            page.on("pageerror", lambda error: seen.errors.append(str(error)))

        def look_at_request(request):
            if not request.url.startswith((console.base, "data:", "about:", "blob:")):
                seen.elsewhere.append(request.url)

        context.on("page", look_at)
        context.on("request", look_at_request)
        page = context.new_page()
        page.goto(console.access.first_address)
        page.wait_for_url(f"{console.base}/")
        page.seen = seen
        try:
            yield page
            for each in context.pages:
                seen.violations += each.evaluate("window.__violations")
        finally:
            context.close()
        assert seen.elsewhere == []
        assert seen.violations == []
        assert seen.errors == []

    return open_console
