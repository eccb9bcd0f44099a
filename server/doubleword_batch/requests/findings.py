"""What a check of a request file can find: the kinds of problems, and the report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_PROBLEMS_SHOWN = 3
_ERROR, _WARNING = "error", "warning"

Severity = Literal["error", "warning"]

# Every kind of problem, how serious it is, and what to do about it.
_FIXES: dict[str, tuple[Severity, str]] = {
    "no_requests": (_ERROR, "Write at least one request line into the file."),
    "bad_utf8": (_ERROR, "Save the file as UTF-8 without a byte order mark."),
    "bom": (_ERROR, "Remove the byte order mark: save as UTF-8, not as UTF-8 with BOM."),
    "blank_line": (_WARNING, "Delete blank lines; some servers refuse them."),
    "not_json": (_ERROR, "Write one complete JSON object on each line."),
    "nan": (_ERROR, "Write null or a number; NaN and Infinity are not JSON."),
    "not_an_object": (_ERROR, "Write one JSON object on each line, not an array or a bare value."),
    "missing_field": (_ERROR, "Give every line custom_id, method, url and body."),
    "wrong_type": (_ERROR, "custom_id, method, url and body.model are strings, body an object."),
    "custom_id_missing": (_ERROR, "Give every line a custom_id of its own."),
    "custom_id_too_long": (_ERROR, "Shorten the custom_id to the provider's limit."),
    "custom_id_not_header_safe": (_ERROR, "Use printable ASCII characters in custom_id."),
    "custom_id_duplicate": (_ERROR, "Make every custom_id unique; results are matched by it."),
    "method": (_ERROR, 'Write "method": "POST".'),
    "url": (_ERROR, "Use an endpoint that this provider runs in batches."),
    "mixed_urls": (_ERROR, "Split the file: a batch has one endpoint."),
    "model_missing": (_ERROR, "Name the model in every body."),
    "model_unknown": (_ERROR, "Name one of the provider's models."),
    "model_not_listed": (_WARNING, "Check the name: it is not in the provider's list."),
    "content": (_ERROR, "Give chat a list of messages, and the other endpoints text or a list."),
    "image_for_text_model": (_ERROR, "Name a model that takes images, or leave the images out."),
    "media_address": (_ERROR, "Send the content itself, or a plain https URL of a public server."),
    "stream": (_ERROR, "Remove stream: a batch cannot stream its answers."),
    "body_too_large": (_ERROR, "Shorten that request, or split it into several."),
    "too_many_requests": (_ERROR, "Split the file into several."),
    "too_many_inputs": (_ERROR, "Split the file: the provider limits the texts to embed in it."),
    "file_too_large": (_ERROR, "Split the file into several."),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem; line 0 means the file as a whole."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """All problems of one kind.

    Attributes:
        kind: such as `custom_id_duplicate`.
        severity: `error` (the provider refuses it, or rows get mixed up) or `warning`.
        count: how many lines.
        first: the first three.
        fix: what to do about them.
    """

    kind: str
    severity: Severity
    count: int
    first: tuple[Problem, ...]
    fix: str


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What a check of a request file found.

    Attributes:
        path: the file.
        requests: lines that are not blank, including broken lines.
        size_bytes: size of the file.
        ok: there are no errors; there may be warnings.
        endpoint: the url of all lines, None if they differ or there is none.
        models: the first 10 in order of appearance.
        input_tokens: estimate: bytes of the lines / 4.
        groups: errors before warnings, each in order of appearance.
    """

    path: Path
    requests: int
    size_bytes: int
    ok: bool
    endpoint: str | None
    models: tuple[str, ...]
    input_tokens: int
    groups: tuple[ProblemGroup, ...]


@dataclass(slots=True)
class Findings:
    """Collects problems in memory that does not grow with their number."""

    _counts: dict[str, int] = field(default_factory=dict[str, int])
    _first: dict[str, list[Problem]] = field(default_factory=dict[str, list[Problem]])

    def add(self, kind: str, line: int, message: str) -> None:
        """Count a problem, and keep it if it is one of the first of its kind."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        first = self._first.setdefault(kind, [])
        if len(first) < _PROBLEMS_SHOWN:
            first.append(Problem(line, message))

    def groups(self) -> tuple[ProblemGroup, ...]:
        """The problems by kind, errors first."""
        groups = [
            ProblemGroup(kind, _FIXES[kind][0], count, tuple(self._first[kind]), _FIXES[kind][1])
            for kind, count in self._counts.items()
        ]
        return tuple(sorted(groups, key=lambda group: group.severity != _ERROR))
