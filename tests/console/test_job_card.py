"""The job's card in the chat: an MCP App in a small host of our own, in Chromium."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from mcp.client.client import Client
from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID

from agent import agent
from console.browsers import needs_chromium, run_apart
from console.test_browser import HOSTILE
from doubleword_batch.mcp_server import build_server
from doubleword_batch.mcp_server.job_card import CARD_URI, page
from doubleword_batch.settings import Settings
from running_console import WAIT_SECONDS, write_reviews

APPS = [advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})]

HOST = """<!doctype html><html><body><script>
const OPTIONS = HOSTOPTIONS;
window.seen = { calls: [], sizes: 0, initialized: false };
const frame = document.createElement("iframe");
frame.setAttribute("sandbox", "allow-scripts");
const send = (message) => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
window.notify = (method, params) => send({ method, params });
window.addEventListener("message", async (event) => {
  if (event.source !== frame.contentWindow) return;
  const { id, method, params } = event.data;
  if (method === "ui/initialize") send({ id, result: { protocolVersion: params.protocolVersion,
    hostInfo: { name: "host", version: "1" }, hostCapabilities: OPTIONS.capabilities,
    hostContext: OPTIONS.context } });
  if (method === "ui/notifications/initialized") window.seen.initialized = true;
  if (method === "ui/notifications/size-changed") window.seen.sizes += 1;
  if (method === "tools/call") {
    window.seen.calls.push(params);
    if (OPTIONS.refuses) return send({ id, error: { code: -32000, message: OPTIONS.refuses } });
    const answer = JSON.parse(await window.callTool(JSON.stringify(params)));
    send({ id, result: answer });
  }
});
frame.srcdoc = PAGE;
document.body.append(frame);
</script></body></html>"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """An agent's settings, with a job that has run."""
    folder = tmp_path_factory.mktemp("card")
    write_reviews(folder, 6)
    settings = Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(folder / "home"),
            "DOUBLEWORD_BATCH_ROOTS": str(folder),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )

    async def work():
        async with agent(settings) as client:
            results = await client.runs_job(source="reviews.csv", prompt="{{ review }}")
            return results["job"]

    return SimpleNamespace(settings=settings, job=run_apart(work))


PLAIN = {"capabilities": {"serverTools": {}}, "context": {}, "refuses": ""}


@contextmanager
def hosting(chromium, jobs, *, color_scheme="light", width=1280, **options):
    """The page in a host that hands calls on to the MCP server; sees what it must not do."""
    viewport = {"width": width, "height": 720}
    context = chromium.new_context(color_scheme=color_scheme, viewport=viewport)
    context.set_default_timeout(3_000 * WAIT_SECONDS)
    host = context.new_page()
    seen = SimpleNamespace(dialogs=[], requests=[], errors=[])
    host.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.accept()))
    host.on("pageerror", lambda error: seen.errors.append(str(error)))
    host.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    context.on("request", lambda request: seen.requests.append(request.url))

    def call_tool(params):
        call = json.loads(params)

        async def work():
            async with agent(jobs.settings) as client:
                reply = await client.tries(call["name"], **call["arguments"])
                content = [{"type": "text", "text": reply.text}]
                return {
                    "content": content,
                    "structuredContent": reply.fields,
                    "isError": reply.is_error,
                }

        return json.dumps(run_apart(work))

    host.expose_function("callTool", call_tool)
    text = HOST.replace("HOSTOPTIONS", json.dumps(PLAIN | options))
    host.set_content(text.replace("PAGE", json.dumps(page()).replace("</", "<\\/")))
    host.wait_for_function("window.seen.initialized")
    (frame,) = [each for each in host.frames if each != host.main_frame]
    yield SimpleNamespace(host=host, frame=frame, seen=seen)
    context.close()
    assert seen.dialogs == []
    assert seen.errors == []
    assert [url for url in seen.requests if not url.startswith(("about:", "data:"))] == []


@pytest.fixture
def hosted(chromium, jobs):
    with hosting(chromium, jobs, context={"theme": "dark"}) as opened:
        yield opened


def ground(hosted):
    return hosted.frame.evaluate("getComputedStyle(document.body).backgroundColor")


def give(hosted, **structured):
    result = {"content": [], "structuredContent": structured}
    hosted.host.evaluate("r => window.notify('ui/notifications/tool-result', r)", result)


LIGHT, DARK = "rgb(255, 255, 255)", "rgb(27, 29, 39)"
STATUS = {
    "job": "reviews-1",
    "status": "in_progress",
    "complete": False,
    "batch_ids": ["b"],
    "counts": {"total": 10, "completed": 4, "failed": 1},
    "provider": "Doubleword",
}


def message(method, params):
    return {"jsonrpc": "2.0", "method": method, "params": params}


RESULT, INPUT = "ui/notifications/tool-result", "ui/notifications/tool-input"
CONTEXT = "ui/notifications/host-context-changed"
EVIL = {"job": "EVIL", "counts": {"total": 1, "completed": 1, "failed": 0}}
ODD_MESSAGES = [
    *(None, 5, "x", [], {}),
    message(RESULT, {"structuredContent": EVIL}) | {"jsonrpc": "1.0"},
    {"jsonrpc": "2.0", "id": 99, "result": {"structuredContent": EVIL}},
    *({"jsonrpc": "2.0", "id": 1, "error": None}, {"jsonrpc": "2.0", "id": "__proto__"}),
    {"jsonrpc": "2.0", "method": RESULT},
    *(message(RESULT, 5), message(RESULT, {"content": 5, "isError": True})),
    message(RESULT, {"isError": True, "content": [{"text": {"a": 1}}]}),
    message(INPUT, {"arguments": 5}),
    *(message(CONTEXT, None), message(CONTEXT, {"theme": '" onload=alert(1)'})),
    *(message("eval", "alert(1)") | {"id": 7}, message({}, {})),
]
SIBLING = """message => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  const told = new Promise((done) => window.addEventListener("message", (event) => {
    if (event.data === "told") done();
  }));
  frame.srcdoc = `<script>parent.frames[0].postMessage(${JSON.stringify(message)}, "*");
    parent.postMessage("told", "*");<` + "/script>";
  document.body.append(frame);
  return told;
}"""


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_only_a_host_that_shows_such_pages_is_told_of_it(jobs, mode):
    plain, shown = [], []
    for found, extensions in ((plain, None), (shown, APPS)):
        async with Client(build_server(jobs.settings), mode=mode, extensions=extensions) as client:
            found += [
                (await client.list_tools()).model_dump(mode="json", by_alias=True)["tools"],
                [str(each.uri) for each in (await client.list_resources()).resources],
            ]
            if extensions:
                found.append((await client.read_resource(CARD_URI)).contents[0])
    if mode == "legacy" and shown[1] == []:
        pytest.skip("this protocol version has no word for extensions of a host")
    linked = [tool["name"] for tool in shown[0] if (tool["_meta"] or {}).get("ui")]
    assert linked == ["get_status", "fetch_results"]
    assert shown[1] == [CARD_URI]
    assert shown[2].mime_type == APP_MIME_TYPE
    assert not any(tool["_meta"] for tool in plain[0])
    assert plain[1] == []
    assert [{**tool, "_meta": None} for tool in shown[0]] == plain[0]


def test_the_page_loads_nothing_and_its_policy_names_its_own_script_alone():
    text = page()
    policy = text.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "innerHTML" not in text


@needs_chromium
def test_messages_of_other_forms_and_of_other_frames_change_nothing(hosted):
    give(hosted, **STATUS)
    for odd in ODD_MESSAGES:
        hosted.host.evaluate("m => frame.contentWindow.postMessage(m, '*')", odd)
    hosted.host.evaluate(SIBLING, message(RESULT, {"structuredContent": EVIL}))
    give(hosted, **STATUS | {"job": None, "provider": "Elsewhere"})
    hosted.frame.wait_for_selector("text=Elsewhere")
    assert hosted.frame.inner_text("h1") == "reviews-1"


@needs_chromium
def test_a_job_is_shown_and_its_answers_are_fetched_by_the_same_tools(hosted, jobs):
    hosted.host.evaluate(
        "job => window.notify('ui/notifications/tool-input', { arguments: { job } })", jobs.job
    )
    result = json.loads(
        hosted.host.evaluate(
            "call => window.callTool(JSON.stringify(call))",
            {"name": "get_status", "arguments": {"job": jobs.job}},
        )
    )
    hosted.host.evaluate("r => window.notify('ui/notifications/tool-result', r)", result)
    hosted.frame.wait_for_selector(f"h1:has-text('{jobs.job}')")
    hosted.frame.wait_for_selector("text=6 ok")
    hosted.frame.get_by_role("button", name="Answers").click()
    hosted.frame.wait_for_selector(".cell:has-text('[simulated]')")
    assert hosted.host.evaluate("window.seen.calls") == [
        {"name": "fetch_results", "arguments": {"job": jobs.job, "sample": 3}}
    ]
    assert hosted.frame.evaluate("document.documentElement.className") == "dark"
    assert hosted.host.evaluate("window.seen.sizes") > 0


@needs_chromium
def test_hostile_texts_are_text_in_the_card(hosted):
    for text in HOSTILE[:10]:
        result = {
            "content": [],
            "structuredContent": {
                "job": text,
                "status": text,
                "complete": True,
                "ledger": {"ok": 1, text: 2},
                "errors": [{"cause": text, "rows": 1, "message": text, "advice": text}],
                "samples": [{"row": 1, text: text}],
                "output_path": text,
                "provider": text,
            },
        }
        hosted.host.evaluate("r => window.notify('ui/notifications/tool-result', r)", result)
        hosted.frame.wait_for_function(
            "text => document.querySelector('h1').textContent === text", arg=text
        )
        assert (
            hosted.frame.evaluate("document.querySelectorAll('img, iframe, a, form').length") == 0
        )
        assert text in hosted.frame.text_content(".cell")


TAG = "<img src=x onerror=alert(1)>"
DONE = {"job": "reviews-1", "status": "completed", "complete": True, "ledger": {"ok": 7}}
OTHER_FORMS = (
    *({**STATUS, "counts": counts} for counts in (TAG, dict.fromkeys(STATUS["counts"], TAG))),
    *({**STATUS, "problems": problems} for problems in (5, {"a": TAG}, [None, {"a": TAG}])),
    {**STATUS, "counts": {"total": 1e308, "completed": 1e308, "failed": -5}},
    *({**DONE, "ledger": ledger} for ledger in (TAG, [1, TAG], {"ok": "1e999"})),
    *({**DONE, "samples": samples} for samples in (TAG, 7, [None], [{"a": {"b": TAG}}])),
    *({**DONE, "errors": errors} for errors in ({"a": 1}, [None], [{"rows": TAG}])),
    *({**DONE, "cascade": cascade} for cascade in (TAG, {"agreement": 0.5, "interval": TAG})),
)


@needs_chromium
def test_a_reply_of_another_form_neither_breaks_the_card_nor_runs_in_it(hosted):
    for form in OTHER_FORMS:
        give(hosted, **form)
    give(hosted, **DONE)
    give(hosted, **STATUS | {"complete": True})
    hosted.frame.wait_for_selector("text=7 ok")
    assert hosted.frame.evaluate("document.querySelectorAll('img, iframe, a').length") == 0


@needs_chromium
def test_what_was_told_last_counts_whether_the_job_has_ended_or_runs_again(hosted):
    give(hosted, **STATUS)
    hosted.frame.wait_for_selector("text=4 ok, 1 failed, 5 pending")
    give(hosted, **DONE)
    hosted.frame.wait_for_selector(".status:has-text('completed')")
    hosted.frame.wait_for_selector("text=7 ok")
    give(hosted, **STATUS)
    hosted.frame.wait_for_selector(".status:has-text('in progress')")
    hosted.frame.wait_for_selector("text=4 ok, 1 failed, 5 pending")


@needs_chromium
def test_names_of_other_types_leave_the_job_its_name(hosted):
    give(hosted, **STATUS)
    for name in ({"a": 1}, ["x"], None):
        give(hosted, **STATUS | {"job": name})
        hosted.host.evaluate(
            "job => window.notify('ui/notifications/tool-input', { arguments: { job } })", name
        )
    give(hosted, **DONE | {"job": None})
    hosted.frame.wait_for_selector("text=7 ok")
    assert hosted.frame.text_content("h1") == "reviews-1"


@needs_chromium
@pytest.mark.parametrize("seconds", [TAG, 1e308, -1, 0])
def test_no_pause_that_is_named_makes_the_card_ask_without_a_pause(hosted, seconds):
    give(hosted, **STATUS, next_check_seconds=seconds)
    hosted.frame.wait_for_selector("text=4 ok")
    assert 5 <= hosted.frame.evaluate("pause()") <= 3600
    assert hosted.host.evaluate("window.seen.calls") == []


@needs_chromium
def test_a_failed_call_is_a_sentence(hosted):
    result = {"structuredContent": {"job": "no-such-job", "status": "built", "counts": {
        "total": 1, "completed": 0, "failed": 0}}, "content": []}  # fmt: skip
    hosted.host.evaluate("r => window.notify('ui/notifications/tool-result', r)", result)
    hosted.frame.get_by_role("button", name="Look again").click()
    hosted.frame.wait_for_selector(".bad:has-text('There is no job called no-such-job')")


@needs_chromium
def test_the_theme_is_the_hosts_and_without_one_the_systems(chromium, jobs):
    with hosting(chromium, jobs, color_scheme="dark", context={"theme": "light"}) as hosted:
        assert ground(hosted) == LIGHT
        for theme, colour in (("dark", DARK), ("light", LIGHT), ("plaid", LIGHT)):
            hosted.host.evaluate(
                "theme => window.notify('ui/notifications/host-context-changed', { theme })", theme
            )
            hosted.frame.wait_for_function(
                "colour => getComputedStyle(document.body).backgroundColor === colour", arg=colour
            )
    for scheme, colour in (("dark", DARK), ("light", LIGHT)):
        with hosting(chromium, jobs, color_scheme=scheme) as hosted:
            assert ground(hosted) == colour


@needs_chromium
def test_in_a_host_that_names_no_size_the_card_fits_and_says_how_high_it_is(chromium, jobs):
    with hosting(chromium, jobs, width=320) as hosted:
        give(hosted, **STATUS | {"job": "a-long-name-of-a-job-that-somebody-chose-for-it-1234567"})
        hosted.frame.wait_for_selector("text=4 ok, 1 failed, 5 pending")
        assert hosted.frame.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        assert hosted.host.evaluate("window.seen.sizes") > 0


@needs_chromium
def test_a_call_that_the_host_refuses_is_a_sentence_and_can_be_made_again(chromium, jobs):
    with hosting(chromium, jobs, refuses="The person did not allow it.") as hosted:
        give(hosted, **STATUS)
        for calls in (1, 2):
            hosted.frame.get_by_role("button", name="Answers").click()
            hosted.frame.wait_for_selector(".bad:has-text('The person did not allow it.')")
            assert len(hosted.host.evaluate("window.seen.calls")) == calls
        assert "4 ok" in hosted.frame.text_content("#card")  # what was known stays


@needs_chromium
def test_a_host_that_calls_no_tools_gets_no_buttons(chromium, jobs):
    with hosting(chromium, jobs, capabilities={}) as hosted:
        give(hosted, **STATUS)
        hosted.frame.wait_for_selector("text=4 ok")
        assert hosted.frame.query_selector("button") is None


@needs_chromium
def test_results_without_rows_with_failures_and_of_a_cascade_are_shown(hosted):
    done = {"job": "reviews-1", "status": "completed", "complete": True, "provider": "Doubleword"}
    give(hosted, **done, ledger={})
    hosted.frame.wait_for_selector("text=no rows")
    fault = {"cause": "http_429", "rows": 2, "message": "«busy»", "advice": "Retry these rows."}
    give(hosted, **done, ledger={"failed": 2}, errors=[fault])
    hosted.frame.wait_for_selector("text=2 http_429: «busy». Retry these rows.")
    cascade = {
        "model": "strong",
        "round": 3,
        "rows": {"cheap": 400, "strong": 200},
        "sampled": 157,
        "agreement": 0.98,
        "interval": [0.955, 0.996],
        "note": "Agreement is with strong, not with the truth.",
    }
    give(hosted, **done, ledger={"ok": 600}, cascade=cascade)
    hosted.frame.wait_for_selector("text=98.0 % (95.5 % to 99.6 %) of 157 sampled rows agree")
    hosted.frame.wait_for_selector("text=400 rows by cheap, 200 rows by strong")
    waits = {"model": "strong", "round": 1, "waits_for": "The day's cap is reached."}
    give(hosted, **STATUS, cascade=waits)
    hosted.frame.wait_for_selector("text=The next round waits: The day's cap is reached.")
