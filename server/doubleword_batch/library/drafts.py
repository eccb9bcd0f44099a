"""Jobs that a person is still writing in the console, stored in the state directory.

A draft survives a restart of the console and of the browser.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.atomic_files import as_store_error, write_bytes
from doubleword_batch.errors import InputError
from doubleword_batch.jobs.views.preview import DraftTexts
from doubleword_batch.open_files import is_link, is_plain_file
from doubleword_batch.sources.options import CHECKS, from_texts

_ID = re.compile(r"[0-9a-f]{16}")
_MOST_PILOTS = 20


@dataclass(frozen=True, slots=True)
class Pilot:
    """A prompt that was run on a few rows, and the job that ran it."""

    job: str
    prompt: str
    system: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is being written, with every field as in the form.

    Attributes:
        source: a path, folder or glob.
        shown_source: what the person called it, such as a dropped file's own name.
        response_schema: JSON text, or "".
        max_tokens: per answer, or "".
        max_cost_usd: refuse to submit above this, or "".
        cascade_model: the strong model behind the job's own, or "" for none.
        cascade_target: share of rows that must agree with it, in percent.
        reading: options for reading the source, as texts of the form.
        pilots: newest last.
    """

    id: str
    source: str
    shown_source: str = ""
    reading: dict[str, str] = field(default_factory=dict[str, str])
    prompt: str = ""
    system: str = ""
    model: str = ""
    window: str = ""
    response_schema: str = ""
    max_tokens: str = ""
    max_cost_usd: str = ""
    cascade_model: str = ""
    cascade_target: str = "95"
    pilots: tuple[Pilot, ...] = ()

    def written(self) -> DraftTexts:
        """The job's fields as views and builds need them."""
        return DraftTexts(
            prompt=self.prompt,
            system=self.system,
            model=self.model.strip(),
            window=self.window,
            response_schema=self.response_schema,
            max_tokens=self.max_tokens,
            strong_model=self.cascade_model,
            target=self.cascade_target,
        )

    def options(self) -> dict[str, Any]:
        """The options of the build."""
        return from_texts(self.reading)


_TEXTS = frozenset(field.name for field in fields(Draft)) - {
    "id",
    "source",
    "shown_source",
    "reading",
    "pilots",
}


class Drafts:
    """The drafts of a state directory.

    Args:
        home: the state directory.

    Attributes:
        offered: the options for reading a source that a form has; its fields are `read_NAME`.
    """

    offered = CHECKS

    def __init__(self, home: Path) -> None:
        self._folder = home / "console" / "drafts"

    def read_options_in(self, given: Mapping[str, str]) -> dict[str, str] | None:
        """The reading options in a form; None if it has no such fields."""
        named = {name: given[f"read_{name}"] for name in self.offered if f"read_{name}" in given}
        if not named:
            return None
        return {name: str(value) for name, value in from_texts(named).items()}

    def new(self, source: str, shown: str, reading: Mapping[str, str] | None = None) -> Draft:
        """A new draft for a source with these reading options."""
        return self.save(Draft(secrets.token_hex(8), source, shown, dict(reading or {})))

    def get(self, draft_id: str) -> Draft:
        """The draft with that id.

        Raises:
            InputError: code `unknown_job`.
        """
        try:
            path = self._folder / f"{draft_id}.json"
            if not _ID.fullmatch(draft_id) or not is_plain_file(path):
                raise FileNotFoundError
            text = path.read_bytes()
            return msgspec.json.decode(text, type=Draft)
        except (OSError, ValueError, RecursionError):
            raise InputError(
                "There is no such draft of a job here.",
                hint="Start a new one.",
                code="unknown_job",
            ) from None

    def change(self, draft: Draft, given: Any) -> Draft:
        """The draft updated with the form's fields; saved if they differ."""
        texts = {name: str(value) for name, value in given.items() if name in _TEXTS}
        changed = replace(draft, **texts)
        return draft if changed == draft else self.save(changed)

    def read_as(self, draft: Draft, reading: Mapping[str, str]) -> Draft:
        """The draft with other reading options."""
        return self.save(replace(draft, reading=dict(reading)))

    def add_pilot(self, draft: Draft, job: str) -> Draft:
        """The draft with a job that ran its prompt on a few rows."""
        earlier = tuple(pilot for pilot in draft.pilots if pilot.job != job)
        pilots = (*earlier, Pilot(job, draft.prompt, draft.system))[-_MOST_PILOTS:]
        return self.save(replace(draft, pilots=pilots))

    def remove_older_than(self, epoch: float) -> list[str]:
        """Remove drafts not changed since then; returns the sources of the others."""
        kept: list[str] = []
        if is_link(self._folder):  # it leads to something that is not ours
            return kept
        for path in self._folder.glob("*.json"):
            try:
                if path.stat().st_mtime < epoch:
                    path.unlink()
                else:
                    kept.append(self.get(path.stem).source)
            except (OSError, InputError):
                continue
        return kept

    def save(self, draft: Draft) -> Draft:
        """Save a draft, and return it.

        Raises:
            StoreError: code `not_written` or `disk_full`.
        """
        with as_store_error(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{draft.id}.json"
        write_bytes(path, msgspec.json.encode(asdict(draft)), private=True)
        return draft
