"""The data that the benchmarks run on: made here, the same every time."""

import csv
import json

TEXT = (
    "the order came late and the café served it cold; «never again» she wrote, über alles a poor "
    "day, yet the staff were kind and the price fair"
)
WORDS = TEXT.split()


def write_table(path, rows, row_bytes):
    """A quoted CSV with line breaks and non-ASCII letters in its cells."""
    with path.open("w", encoding="utf-8", newline="") as output:
        writer = csv.writer(output, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "category", "text"])
        for number in range(rows):
            writer.writerow([f"order-{number}", f"kind {number % 7}", _text(number, row_bytes)])


def write_results(path, requests, row_bytes):
    """The output file that a provider would give for a request file of ours."""
    with requests.open("rb") as lines, path.open("w", encoding="utf-8") as output:
        for number, line in enumerate(lines):
            message = {"role": "assistant", "content": _text(number + 3, row_bytes)}
            body = {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion",
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 900, "completion_tokens": 800, "total_tokens": 1700},
            }
            result = {
                "id": f"batch_req_{number}",
                "custom_id": json.loads(line)["custom_id"],
                "response": {"status_code": 200, "request_id": None, "body": body},
                "error": None,
            }
            output.write(json.dumps(result, ensure_ascii=False) + "\n")


def _text(number, size):
    words = [WORDS[(number * 31 + step * 7) % len(WORDS)] for step in range(max(size // 6, 1))]
    words[len(words) // 2 :: 40] = ["\n"] * len(words[len(words) // 2 :: 40])
    return " ".join(words)
