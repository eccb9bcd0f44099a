"""Five rows through curator's batch mode; argv: the base URL. It runs in curator's environment."""

import json
import os
import sys

os.environ.update(TELEMETRY_ENABLED="0", CURATOR_VIEWER="0", CURATOR_DISABLE_RICH_DISPLAY="1")

from bespokelabs import curator  # after the switches


class Say(curator.LLM):
    def prompt(self, row):
        return f"Say row {row['n']}."

    def parse(self, row, response):
        return {"n": row["n"], "answer": response}


say = Say(
    model_name="chat-1",
    backend="openai",
    batch=True,
    backend_params={
        "base_url": sys.argv[1],
        "api_key": os.environ["OPENAI_API_KEY"],
        "batch_check_interval": 1,
    },
)
print("rows:", json.dumps(say([{"n": n} for n in range(1, 6)]).dataset.to_list()))
