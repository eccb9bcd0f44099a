"""Exit codes and errors: what a script can rely on."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.commands import serving
from doubleword_batch.cli.exit_codes import Exit, exit_of
from doubleword_batch.errors import TransportError

PROMPT = ("-p", "Say {{ text }}", "-m", "simulated-chat")


def test_help_documents_every_exit_code(shared):
    shown = " ".join(shared.run("--help").stdout.split())
    for code in Exit:
        assert f"{code.value} {code.meaning}" in shown


def test_a_command_line_that_cannot_be_parsed_exits_with_2_and_names_the_help(shared):
    ended = shared.run("run", "rows.csv", "--unheard-of")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "Error: No such option: --unheard-of\nSee doubleword-batch run --help.\n"
    assert shared.json("retry", "x", "--param", "novalue", code=2)["error"] == {
        "code": "invalid_argument",
        "message": "Invalid value for --param: 'novalue' is not NAME=VALUE.",
        "hint": "See doubleword-batch retry --help.",
        "retryable": False,
        "details": {},
    }


def test_an_unknown_column_exits_with_3_and_suggests_the_right_one(shared):
    ended = shared.run("create-file", "rows.csv", "-p", "{{ txt }}")
    assert ended.returncode == 3
    assert "Did you mean «text»?" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_person_reads_the_next_command_and_no_tool_call(shared):
    ended = shared.run("fetch", "nope")
    assert ended.returncode == 3
    assert ended.stderr.endswith("Next: doubleword-batch list jobs\n")
    assert "list(" not in ended.stderr


@pytest.mark.parametrize(
    ("environment", "code", "kind"),
    [
        ({"DOUBLEWORD_BATCH_MAX_COST_USD": "much"}, 4, "invalid_setting"),
        ({"DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "builtin"}, 4, None),
        ({"DOUBLEWORD_BATCH_HOME": "rows.csv"}, 4, "invalid_setting"),
        ({"DOUBLEWORD_BATCH_HOME": "~nobody-of-that-name/state"}, 4, "invalid_setting"),
    ],
)
def test_an_unusable_environment_has_its_own_code(shared, environment, code, kind):
    error = shared.json("list", code=code, **environment)["error"]
    assert kind in {None, error["code"]}
    assert error["hint"]


def test_a_store_that_is_damaged_has_its_own_code(shared, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    store = home / "store.sqlite3"
    store.write_bytes(b"not a database" * 1_000)
    store.chmod(0o600)
    error = shared.json("list", code=7, DOUBLEWORD_BATCH_HOME=str(home))["error"]
    assert error["code"] == "store"
    assert error["hint"]


class Portal(BaseHTTPRequestHandler):
    """A network's sign-in page instead of every answer."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Please sign in</html>")

    def log_message(self, *_):
        """Nothing on stderr."""


def test_a_page_that_is_not_the_apis_answer_exits_with_6(shared):
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Portal)) as portal:
        url = f"http://127.0.0.1:{portal.server_address[1]}/v1"
        hosted = {"DOUBLEWORD_BASE_URL": url, "DOUBLEWORD_API_KEY": "k-123"}
        error = shared.json("list", "models", code=6, **hosted)["error"]
    assert error["code"] == "unexpected_reply"
    assert exit_of(TransportError("Cut.", may_have_happened=True)) is Exit.NO_CONNECTION


@pytest.fixture(scope="module")
def hosted(shared):
    """The local server under a provider's name: as if it cost money."""
    with shared.local() as server:
        yield {
            "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
            "DOUBLEWORD_BASE_URL": server["base_url"],
            "DOUBLEWORD_API_KEY": server["token"],
            "DOUBLEWORD_BATCH_HOME": str(shared.folder / "elsewhere"),
        }


def test_a_rejected_key_exits_with_5_and_is_not_shown(shared, hosted):
    ended = shared.run(
        "list", "models", **(hosted | {"DOUBLEWORD_API_KEY": "wrong-key-do-not-leak"})
    )
    assert ended.returncode == 5
    assert "do-not-leak" not in ended.stdout + ended.stderr


def test_run_submits_nothing_that_nobody_agreed_to_pay_for(shared, hosted):
    ended = shared.run("run", "rows.csv", *PROMPT, "-o", "paid.csv", **hosted)
    assert ended.returncode == 3
    assert "estimated cost at Doubleword: unknown" in ended.stderr
    assert "nothing was submitted" in ended.stderr
    assert "--yes" in ended.stderr
    listed = shared.json("list", **hosted)
    assert ": built, 3 rows" in listed["lines"][0]
    assert shared.json("list", "files", **hosted)["lines"] == []


def test_run_respects_max_cost_and_takes_yes_as_agreement(shared, hosted):
    arguments = ("run", "rows.csv", *PROMPT, "-o", "agreed.csv")
    capped = shared.json(*arguments, "--max-cost", "0.01", code=3, **hosted)["error"]
    assert capped["code"] == "unknown_cost"
    assert shared.json(*arguments, "--yes", **hosted)["ledger"] == {"ok": 3}
