"""The site builds without a warning and asks no other host."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from docs.documents import PAGES, ROOT

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the group docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """What a browser fetches for a page without being asked."""

    def __init__(self):
        super().__init__()
        self.addresses = []
        self.components = set()

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.components.add(named.get("data-md-component"))
        if tag in LOADED and named.get("rel") != "canonical":
            self.addresses.append(named.get(LOADED[tag]) or "")


def test_no_page_asks_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and the page for what is not found
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert not [url for url in loaded.addresses if re.match(r"(?:https?:)?//", url)], page
        assert "source" not in loaded.components, "the theme would ask for a repository's figures"
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8"))


def test_the_reference_holds_every_public_name(site):
    import doubleword_batch

    reference = (site / "library" / "index.html").read_text(encoding="utf-8")
    for name in doubleword_batch.__all__:
        assert f'id="doubleword_batch.{name}"' in reference or f'errors.{name}"' in reference, name
