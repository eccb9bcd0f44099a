"""Who is let in, what a page may do, and that nothing changes without a page's token."""

import re

import pytest
from starlette.routing import Route

from doubleword_batch.console import access, answer_routes, job_routes, new_job
from doubleword_batch.console.access import Access
from running_console import running

ROUTES = [*job_routes.ROUTES, *answer_routes.ROUTES, *new_job.ROUTES]
POSTS = [route.path for route in ROUTES if isinstance(route, Route) and "POST" in route.methods]
PAGES = [
    "/",
    "/new",
    "/provider",
    "/jobs/{name}",
    "/jobs/{name}/answers",
    "/jobs/{name}/failures",
    "/jobs/{name}/judge",
    "/jobs/{name}/query?sql=SELECT 1 AS one",
    "/jobs/{name}/rows/3",
    "/nowhere",
]


def filled(path, name):
    return path.replace("{name}", name).replace("{draft}", "0" * 16).replace("{number}", "3")


@pytest.mark.parametrize("path", ["/", "/parts/jobs", "/events", "/new", "/nowhere"])
def test_a_browser_without_the_cookie_is_told_how_to_get_in(console, path):
    with console.browser(enter=False) as stranger:
        refused = stranger.get(path)
    assert refused.status_code == 401
    assert "Run doubleword-batch console" in refused.text


@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_another_token_gives_no_cookie(console, token):
    with console.browser(enter=False) as stranger:
        refused = stranger.get("/enter", params={"token": token})
        assert refused.status_code == 403
        assert not stranger.cookies


def test_the_cookie_is_strict_and_out_of_reach_of_scripts(console):
    with console.browser(enter=False) as client:
        response = client.get(f"/enter?token={console.access.entry_token}")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert console.access.entry_token not in cookie


def test_a_cookie_that_was_changed_or_is_another_ports_lets_nobody_in(console):
    access = console.access
    good = access.new_cookie()
    assert access.is_cookie(good)
    until, nonce, signature = good.split(".")
    other = Access(access.signing_key, access.port + 1, "")
    for bad in ("", "..", f"{int(until) + 9}.{nonce}.{signature}", other.new_cookie(), good + "é"):
        assert not access.is_cookie(bad)


def test_a_cookie_ends_after_a_week(console, monkeypatch):
    cookie = console.access.new_cookie()
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    assert not console.access.is_cookie(cookie)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:80"},
        {"host": "[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_other_sites_pages_are_refused_even_with_the_cookie(console, browser, headers):
    assert browser.get("/", headers=headers).status_code == 403


@pytest.mark.parametrize("path", POSTS)
def test_nothing_is_changed_without_the_token_of_the_page(console, browser, reviews, path):
    for token in ("", "wrong", console.access.page_token("another cookie")):
        refused = browser.post(filled(path, reviews), data={"page_token": token, "row": "1"})
        assert refused.status_code == 403, refused.text
        assert "Load the page again" in refused.text


@pytest.mark.parametrize("path", POSTS)
def test_a_post_that_names_no_origin_is_refused(console, browser, reviews, path):
    del browser.headers["origin"]
    assert console.post(browser, filled(path, reviews)).status_code == 403


@pytest.mark.parametrize("path", POSTS)
def test_what_changes_something_is_not_a_get(browser, reviews, path):
    assert browser.get(filled(path, reviews)).status_code in {404, 405}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_pages_are_read_and_posted_to_in_no_other_way(browser, reviews, method):
    refused = browser.request(method, f"/jobs/{reviews}")
    assert refused.status_code == 405
    assert browser.get(f"/jobs/{reviews}").status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_pages_hold_no_script_and_no_style_of_their_own(browser, reviews, path):
    page = browser.get(filled(path, reviews))
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 's")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page.text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page.text))
    assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", page.text)


def test_read_only_refuses_every_change_and_shows_no_buttons(home, reviews):
    with running(home, read_only=True) as console, console.browser() as client:
        for path in POSTS:
            refused = console.post(client, filled(path, reviews), row="1", mark="right")
            assert refused.status_code == 403
            assert "read-only" in refused.text
        for path in PAGES:
            page = client.get(filled(path, reviews)).text
            assert 'method="post"' not in page
            assert 'href="/new"' not in page


def test_a_form_that_never_ends_is_cut_off(console, browser):
    def blocks():
        yield b"a=" + b"x" * (1 << 20)
        yield from (b"x" * (1 << 20) for _ in range(6))

    refused = browser.post("/provider/adopt", content=blocks())
    assert refused.status_code == 400
    assert "larger than 4 MiB" in refused.text


def test_a_form_of_many_fields_is_refused_in_words(browser):
    refused = browser.post("/provider/adopt", data={f"a{number}": "1" for number in range(500)})
    assert refused.status_code == 400
    assert "more than 200 fields" in refused.text


def test_the_address_that_a_browser_is_started_with_lets_one_in_within_a_minute(
    console, monkeypatch
):
    first = console.access.passing_address()
    monkeypatch.setattr(access, "_PASSING_SECONDS", -1.0)
    late = console.access.passing_address()
    with console.browser(enter=False) as browser:
        assert browser.get(first).status_code == 200
        assert browser.get("/").status_code == 200
    with console.browser(enter=False) as another:
        refused = another.get(first)
        assert refused.status_code == 403
        assert "has been used" in refused.text
        assert another.get(late).status_code == 403
        assert another.get("/").status_code == 401
