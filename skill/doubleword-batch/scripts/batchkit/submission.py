"""A request file becomes a batch, once: it is looked for before sending, never sent in doubt.

The file's name and the fingerprint in the batch's metadata are the same as in the package
doubleword-batch, so each finds what the other has sent.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit.api import safe
from batchkit.batch_status import entries_since, status_of
from batchkit.cli import Exit, ScriptError, note, quoted
from batchkit.errors import ApiError, IncompleteListError, TransportError
from batchkit.json_values import object_of
from batchkit.spending import most_output_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchkit.api import Api
    from batchkit.journal import Journal
    from batchkit.settings import Settings

FINGERPRINT_KEY = "dwb_fingerprint"

_NOT_ACCEPTED, _NOT_FOUND = 401, 404
_SECONDS_BETWEEN_LOOKS = 2.0
_SPENT = frozenset({"failed", "cancelled", "expired"})


class SubmissionOptions(NamedTuple):
    """What to run, where, and at what price.

    Attributes:
        path: the request file.
        endpoint: the `url` of its lines.
        window: the completion window.
        max_cost_usd: refuse above this.
        in_doubt_seconds: how long to look for a lost creation before it may be sent again.
    """

    path: Path
    endpoint: str
    window: str
    max_cost_usd: Decimal | None
    in_doubt_seconds: float


def job_name(path: Path, sha256: str) -> str:
    """The package's name for a job over this request file."""
    stem = "".join(c if c.isalnum() else "-" for c in path.stem.lower())[:32]
    return f"{stem}-{sha256[:6]}" if stem.isascii() else f"file-{sha256[:12]}"


def fingerprint(settings: Settings, sha256: str) -> str:
    """Marks the batch of this request file at this server, so that it can be found again."""
    job = f"file:{settings.provider}:{settings.base_url}:{sha256}"
    return hashlib.sha256(f"{job}/1/{sha256}".encode()).hexdigest()[:32]


class Submission:
    """Takes one request file to its batch."""

    def __init__(
        self, api: Api, settings: Settings, journal: Journal, options: SubmissionOptions
    ) -> None:
        self._api = api
        self._settings = settings
        self._journal = journal
        self._options = options
        self._mark = fingerprint(settings, journal.sha256)

    def upload(self) -> str:
        """Make sure that the file is at the server; returns its id."""
        entries = self._journal.entries
        if entries.file_id is None:
            job = job_name(self._options.path, self._journal.sha256)
            name = f"{job}-0001-{self._journal.sha256[:16]}.jsonl"
            found = self._file_named(name)
            if found is None:
                self._journal.note(upload_sent_at=time.time())
                sent = self._api.upload(self._options.path, name, lambda: self._file_named(name))
                found = _id_of(sent)
            self._journal.note(file_id=found)
        return str(entries.file_id)

    def create(self) -> str:
        """Make sure that there is one batch; returns its id."""
        entries = self._journal.entries
        if entries.batch_id is None:
            found = self._earlier()
            if found is None:
                file_id = self.upload()
                self._refuse_if_too_dear(file_id)
                found = self._send(file_id)
            self._journal.note(batch_id=found)
        return str(entries.batch_id)

    def estimated_usd(self, file_id: str) -> Decimal | None:
        """The server's own estimate, or None if it has none."""
        return self._estimate(file_id)[0]

    def _estimate(self, file_id: str) -> tuple[Decimal | None, int]:
        """The server's estimate, and the answer tokens that it assumes."""
        try:
            path = f"/files/{safe(file_id)}/cost-estimate"
            estimate = self._api.get(path, completion_window=self._options.window)
            usd = Decimal(str(estimate["total_estimated_cost"]))
        except (ApiError, KeyError, InvalidOperation):
            return None, 0
        tokens = estimate.get("total_estimated_output_tokens")
        is_count = isinstance(tokens, int) and tokens > 0
        # a model without a tariff counts as 0, which is not a price; nor is less than 0
        return (usd if usd.is_finite() and usd > 0 else None), (tokens if is_count else 0)

    def _most_usd(self, file_id: str) -> Decimal | None:
        """The most that the file can cost: the estimate, raised to the requests' token limits."""
        most = most_output_tokens(self._options.path)
        usd, counted = self._estimate(file_id)
        if usd is None or most <= counted:
            return usd
        return usd * most / counted if counted else None

    def _refuse_if_too_dear(self, file_id: str) -> None:
        cap = self._options.max_cost_usd
        if cap is None:
            return
        usd = self._most_usd(file_id)
        if usd is None or usd > cap:
            if usd is None:
                raise ScriptError(
                    Exit.INPUT,
                    f"The cost is unknown: this server names no price, and the cap is ${cap}; "
                    "nothing was submitted.",
                    "Ask the person who set the cap: without --max-cost, and without "
                    "DOUBLEWORD_BATCH_MAX_COST_USD, it runs at whatever it costs.",
                )
            raise ScriptError(
                Exit.INPUT,
                f"The cost is up to ${usd.normalize():f} by the requests' token limits, and the "
                f"cap is ${cap}; nothing was submitted.",
                "Give every request a token limit (max_tokens), use fewer rows or a cheaper model, "
                "or ask the person who set the cap.",
            )

    def _send(self, file_id: str) -> str:
        body = {
            "input_file_id": file_id,
            "endpoint": self._options.endpoint,
            "completion_window": self._options.window,
            "metadata": {
                "dwb_job": job_name(self._options.path, self._journal.sha256),
                "dwb_part": "1",
                FINGERPRINT_KEY: self._mark,
            },
        }
        self._journal.note(create_sent_at=time.time())
        try:
            return _id_of(self._api.post("/batches", body, self._look))
        except (ApiError, TransportError) as error:
            if not error.may_have_happened:
                made = self._made_all_the_same(error)
                if made is not None:
                    return made
                gone = isinstance(error, ApiError) and error.status == _NOT_FOUND
                self._journal.note(
                    create_sent_at=None,
                    file_id=None if gone else file_id,  # deleted or expired: upload it again
                )
                raise
            note("The reply to the creation was lost; looking for the batch at the server.")
            found = self._look_while_in_doubt()
            if found is None:
                raise
            return found

    def find_again(self, refusal: ApiError) -> str:
        """The batch's id if the server does not know the one that it gave: found by our mark.

        Raises:
            ScriptError: it cannot be found. It is not created again.
        """
        given = str(self._journal.entries.batch_id)
        try:
            found = self._look()
        except IncompleteListError:
            found = None
        if found is None or found == given:
            raise ScriptError(
                Exit.REFUSED,
                f"The server gave the batch the id {quoted(given, 80)} but answers {refusal.status}"
                " to it, and its list does not show another with this file's mark.",
                self._way_out(),
            )
        note(f"The server does not know {quoted(given, 80)}; its list has {quoted(found, 80)}.")
        self._journal.note(batch_id=found)
        return found

    def _earlier(self) -> str | None:
        """The batch, if it exists already; if it may exist, it is looked for long enough."""
        if self._journal.entries.create_sent_at is not None:
            return self._look_while_in_doubt()
        try:
            return self._look()
        except IncompleteListError:
            return None  # nothing was sent from here

    def _made_all_the_same(self, error: ApiError | TransportError) -> str | None:
        """What a refused creation has made: if a gateway repeats it, the second may be refused.

        If the key is refused, the list would be refused too.
        """
        if (
            isinstance(error, TransportError)
            or error.is_repeatable
            or error.status == _NOT_ACCEPTED
        ):
            return None
        with suppress(ScriptError):
            return self._look()
        return None

    def _look_while_in_doubt(self) -> str | None:
        """Look for a creation whose reply was lost, for as long as it may still appear.

        Raises:
            ScriptError: nobody can look, so it must not be sent again.
        """
        while True:
            blind: ScriptError | None = None
            try:
                found = self._look()
            except (TransportError, IncompleteListError) as error:
                found, blind = None, error
            left = self._journal.seconds_in_doubt(self._options.in_doubt_seconds)
            if found is not None:
                return found
            if left <= 0 and isinstance(blind, IncompleteListError):
                raise ScriptError(
                    Exit.NO_CONNECTION,
                    "It is not known whether the creation reached the server, and its list cannot "
                    f"tell: {blind.why}",
                    self._way_out(),
                )
            if left <= 0:
                if blind is not None:
                    raise blind
                return None
            if self._api.time_limit.left() <= 0:
                raise ScriptError(
                    Exit.NO_CONNECTION,
                    "It is not known yet whether the creation reached the server.",
                    "Run the same command again: it looks for the batch before it sends anything.",
                )
            time.sleep(min(left, _SECONDS_BETWEEN_LOOKS, self._api.time_limit.left()))

    def _way_out(self) -> str:
        return (
            "It is not sent again, because it may have been paid for. Look in the provider's "
            f"console: if the batch is there, it can be followed with its id as batch_id in "
            f"{quoted(str(self._journal.path))}; if not, give the request file another name."
        )

    def _look(self) -> str | None:
        entries = self._journal.entries
        was_sent = entries.create_sent_at is not None
        for batch in self._listed("/batches", self._mark, entries.create_sent_at):
            metadata = object_of(batch.get("metadata"))
            is_ours = self._mark in metadata.values()
            if was_sent and not metadata and entries.file_id is not None:
                is_ours = batch.get("input_file_id") == entries.file_id
            if is_ours and (was_sent or status_of(batch) not in _SPENT):
                return _id_of(batch)
        return None

    def _file_named(self, name: str) -> str | None:
        size = self._options.path.stat().st_size
        since = self._journal.entries.upload_sent_at
        with suppress(IncompleteListError):  # an upload is free, so it is simply repeated
            for file in self._listed("/files", name, since, purpose="batch"):
                if file.get("filename") == name and file.get("bytes") in (0, None, size):
                    return _id_of(file)
        return None

    def _listed(
        self, path: str, search: str, since: float | None, **params: str
    ) -> Iterator[dict[str, Any]]:
        if self._settings.provider == "doubleword":
            params["search"] = search
        return entries_since(self._api, path, params, since)


def _id_of(answer: dict[str, Any]) -> str:
    found = answer.get("id")
    if not isinstance(found, str) or not found:
        raise ScriptError(
            Exit.NO_CONNECTION,
            "The server's answer has no id.",
            "Run the same command again: it looks before it sends.",
        )
    return found
