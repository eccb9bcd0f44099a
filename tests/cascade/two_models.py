"""Two models of known accuracy behind a local server: the cheap one knows of what it is unsure.

What they say follows from the row and the model alone, so that two runs can be compared.
"""

import hashlib
import json
import re
from collections import Counter

import anyio

from doubleword_batch.local.executors.base import Completion, ExecutorModel, RequestFailed

CHEAP, STRONG = "Qwen/Qwen3.5-4B", "Qwen/Qwen3.5-397B-A17B"
LABELS = ("good", "bad", "mixed")
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": list(LABELS)}},
    "required": ["label"],
    "additionalProperties": False,
}
OPTION = {"model": STRONG, "target": 0.95}
PROMPT = "Which? {{ text }}"


def chance(*facts):
    """A number from 0 to 1 that follows from the facts."""
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class TwoModels:
    """An executor: the strong model gives the true label, the cheap one that of its accuracy.

    Args:
        sure: share of the rows of which the cheap model is sure, and right in 199 of 200.
        guesses: its accuracy in the others.
        writes_logprobs: False for a server that ignores the wish.
    """

    name, note, concurrency, accepts_any_model = "simulate", "two models", 100, True

    def __init__(self, sure=0.6, guesses=0.4, *, writes_logprobs=True):
        self.sure, self.guesses, self.writes_logprobs = sure, guesses, writes_logprobs
        self.fails = lambda _model, _row: None
        self.holds = False
        self.asked, self.rows_asked = Counter(), Counter()
        self.bodies = []

    async def models(self):
        return [ExecutorModel(CHEAP, "chat"), ExecutorModel(STRONG, "chat")]

    async def close(self):
        pass

    async def run(self, request):
        body = request.body
        model = body["model"]
        row = int(re.search(r"row (\d+)", body["messages"][-1]["content"])[1])
        while self.holds in (True, model):
            await anyio.sleep(0.02)
        self.asked[model] += 1
        self.rows_asked[model, row] += 1
        self.bodies.append(body)
        failure = self.fails(model, row)
        if failure is not None:
            raise RequestFailed.of_status(failure, '{"error": {"message": "no"}}')
        choices = [self.choice(body, model, row, n) for n in range(body.get("n", 1))]
        usage = {"prompt_tokens": 20, "completion_tokens": 5 * len(choices)}
        usage["total_tokens"] = sum(usage.values())
        fixed = {"id": "x", "object": "chat.completion", "created": 1, "model": model}
        return Completion(200, fixed | {"choices": choices, "usage": usage})

    def choice(self, body, model, row, index):
        label, is_sure = truth(row), True
        if model == CHEAP:
            is_sure = chance("sure", row) < self.sure
            right = chance("right", row, 0 if is_sure else index)
            if right > (0.995 if is_sure else self.guesses):
                label = LABELS[(LABELS.index(label) + 1 + int(chance("w", row, index) * 2)) % 3]
        content = json.dumps({"label": label})
        logprobs = None
        if body.get("logprobs") and self.writes_logprobs:
            surprise = (0.0001 if is_sure else 0.5) * (0.5 + chance("s", row))
            logprobs = {"content": [{"token": content, "logprob": -surprise, "bytes": None}]}
        message = {"role": "assistant", "content": content}
        return {"index": index, "message": message, "finish_reason": "stop", "logprobs": logprobs}


def truth(row):
    """The label that the strong model gives a row."""
    return LABELS[int(chance("truth", row) * 3)]


def write_rows(path, count):
    """A table of so many rows."""
    return write_texts(path, range(1, count + 1))


def write_texts(path, numbers):
    """A table of rows whose texts have these numbers; those of one number are equal."""
    rows = "".join(f"{n},row {number} of it\n" for n, number in enumerate(numbers, 1))
    path.write_text("id,text\n" + rows, encoding="utf-8", newline="\n")
    return path
