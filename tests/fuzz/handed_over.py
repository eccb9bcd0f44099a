"""What others hand over: workbooks that a child reads, lock files, webhooks."""

import asyncio
import base64
import hashlib
import hmac
import io
import json
import os
import time
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace
from unittest.mock import patch

import msgspec
import xlwt

from doubleword_batch.errors import InputError
from doubleword_batch.isolated import files
from doubleword_batch.isolated.process import ChildEndedError
from doubleword_batch.jobs.export.lock_file import Lock
from doubleword_batch.jobs.locked_run import locked_request, open_lock
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Secret
from doubleword_batch.webhook import build_app
from fuzz.inputs import any_of, damaged, encoded, grafted, one_of, together
from fuzz.tables import bad_rows, check_rows, suppress_said, workbooks
from other_workbooks import ods_cell, ods_row, write_ods, write_xlsb

ODS_WORDS = [
    *(b'table:number-rows-repeated="1048576"', b'table:number-columns-repeated="16384"'),
    *(b'table:number-columns-spanned="-1"', b'office:value="1e999"', b'office:value-type="date"'),
    *(b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"<table:covered-table-cell/>", b"PT9999999999H"),
]


class KeptChild:
    """A child that reads one workbook after another; starting it takes longer than reading."""

    def __init__(self, start=files._workbook_child):
        self._start, self._child, self._frames = start, None, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """It goes on living."""

    def ask(self, request, *, seconds):
        self._child = self._child or self._start()
        self._frames = []
        try:
            self._child.ask(request, seconds=seconds)
            last = {}
            while not {"sheets", "wrong", "error", "end"} & last.keys():
                last = self._child.frame(seconds=seconds)
                self._frames.append(last)
        except ChildEndedError as ended:
            self._child = None
            self._frames.append(ended)

    def frame(self, **_):
        frame = self._frames.pop(0)
        if isinstance(frame, ChildEndedError):
            raise frame
        return frame

    def close(self):
        if self._child:
            self._child.close()


@contextmanager
def old_workbooks(folder):
    """`.xls`, `.xlsb` and `.ods`, whose reader is a child."""
    book = xlwt.Workbook()
    page = book.add_sheet("S")
    for line, cells in enumerate((["id", "text"], [1, "größe"], [2.5, True])):
        for column, value in enumerate(cells):
            page.write(line, column, value)
    page.merge(3, 4, 0, 1)
    old = io.BytesIO()
    book.save(old)
    xlsb, ods = folder / "sample.xlsb", folder / "sample.ods"
    write_xlsb(xlsb, {1: {0: "id", 1: "text"}, 2: {0: 1.5, 1: "a"}, 9: {0: True}})
    write_ods(
        ods, ods_row("id", "text"), ods_row(ods_cell(7, "float"), "a", number_rows_repeated=3)
    )
    packed = [xlsb.read_bytes(), ods.read_bytes()]
    inputs = one_of(
        damaged([old.getvalue()]), damaged(packed), workbooks(packed, ODS_WORDS), workbooks(packed)
    )

    def check(fed):
        data, options = fed
        (folder / "t.xls").write_bytes(data)
        with suppress_said():
            check_rows(folder, ".xls", options)

    kept = KeptChild()
    with closing(kept), patch.object(files, "_workbook_child", lambda: kept):
        yield together(inputs, bad_rows), check


LOCK = {
    "doubleword_batch_lock": 1,
    "versions": {"doubleword-batch": "0.1.0", "python": "3.11.7"},
    "table": {"file": "answers.csv", "format": "csv", "sha256": "ab", "query": "SELECT 1"},
    "source": {"location": "rows.csv::S", "made_from": "job:a", "fingerprint": "f", "rows": 2},
    "request": {
        "model": "m", "endpoint": "/v1/chat/completions", "prompt": "{{ text }}", "system": "s",
        "response_schema": {"type": "object"}, "schema_format": {"name": "answer"},
        "params": {"max_tokens": 5}, "id_column": "id", "image_column": "i", "limit": 3,
        "options": {"blanks": "send"}, "completion_window": "24h", "run": "r",
        "left_out": ["params.a.b"],
    },
    "provider": {
        "name": "local", "base_url": "local",
        "price": {"date": "2026-01-01", "input_usd": "0.1", "output_usd": "1"},
    },
    "job": {
        "name": "a", "fingerprint": "f", "built_at": "", "batch_ids": ["b"], "rows": 2,
        "ledger": {"ok": 2}, "input_tokens": 1, "output_tokens": 1, "cost_usd": "0.1",
    },
}  # fmt: skip
LOCK_WORDS = [*LOCK, *LOCK["request"], *LOCK["source"], *LOCK["table"], "../x", "job:", "/etc/*"]


@contextmanager
def lock_files(folder):
    """What is read leads nowhere but to the folder; what is not is said in words."""
    os.chdir(folder)
    (folder / "rows.csv").write_text("id,text\n1,a\n", encoding="utf-8")
    path = folder / "answers.lock.json"
    workspace = SimpleNamespace(roots=Roots(None))
    inputs = one_of(encoded(grafted([LOCK], LOCK_WORDS)), damaged([json.dumps(LOCK).encode()]))

    def check(data):
        path.write_bytes(data)
        with suppress_said():
            run = open_lock(workspace, str(path))
            msgspec.json.decode(msgspec.json.encode(run.lock), type=Lock)
            with suppress(InputError):
                assert run.output(workspace).parent == folder.resolve()
            request = locked_request(workspace, run)
            assert request.texts_are_literal
            if not request.source.startswith("job:"):
                assert request.source.startswith(str(folder)), request.source
                assert request.data_folder == folder.resolve()

    yield inputs, check


KEY = b"twenty-four-bytes-of-key"
EVENT = {"type": "batch.completed", "created_at": 1, "data": {"batch_id": "batch_7"}}


@contextmanager
def webhooks(_folder):
    """Only what is signed is heeded, and of that only the id; whatever comes has an answer."""
    asked = []

    async def look_at_batch(*ids):
        asked.append(ids)
        return False

    app = build_app(
        SimpleNamespace(look_at_batch=look_at_batch),
        Secret("whsec_" + base64.b64encode(KEY).decode()),
    )
    bodies = one_of(
        encoded(grafted([EVENT], [*EVENT, "batch_id"])), damaged([json.dumps(EVENT).encode()])
    )
    samples = [b"msg_1", b"1800000000", b"v1,AAAA v1,", b"v1a,", b""]

    def check(fed):
        body, is_signed, *others = fed
        asked.clear()
        stamp = str(int(time.time())).encode()
        digest = hmac.digest(KEY, b"msg_1." + stamp + b"." + body, hashlib.sha256)
        given = [b"msg_1", stamp, b"v1," + base64.b64encode(digest)] if is_signed else others
        names = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
        status = asyncio.run(answered(app, list(zip(names, given, strict=True)), body))
        assert status in ({204, 400} if is_signed else {401}), status
        assert is_signed or not asked
        assert all(isinstance(element, str) for ids in asked for element in ids)

    yield together(bodies, any_of([True, False]), *(damaged(samples) for _ in range(3))), check


async def answered(app, headers, body):
    """The status with which an application answers a POST."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "scheme": "http",
        "headers": headers, "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"]


TARGETS = {"old_workbooks": old_workbooks, "lock_files": lock_files, "webhooks": webhooks}
