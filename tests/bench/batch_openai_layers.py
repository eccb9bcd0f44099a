"""What a call of BatchOpenAI costs its caller, layer by layer: the SDK's own share, and ours.

    python tests/bench/batch_openai_layers.py [--calls 10000] [--runs 5]

Nothing is sent anywhere: each layer is cut off below by something that answers at once. CPU of the
calling thread without Python's collector, the best of several runs. Prints one table.
"""

import argparse
import asyncio
import gc
import json
import time

import httpx2
import openai
from openai._models import construct_type
from openai._utils._json import openapi_dumps
from openai.types.chat import ChatCompletion

from doubleword_batch.batch_openai import BatchOpenAI
from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.batching_thread import BatchingThread
from doubleword_batch.batch_openai.call import deliver
from doubleword_batch.batch_openai.credentials import Credentials, resolve_settings
from doubleword_batch.jobs.sync.response import CallResponse

ACCESS = {"api_key": "k", "base_url": "http://127.0.0.1:9/v1"}
MESSAGE = {"role": "assistant", "content": "Yes, it is. " * 8, "refusal": None}
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32},
    }
).encode()


def arguments_of(number):
    question = f"Question {number}: is it a good one?"
    return {"model": "m", "messages": [{"role": "user", "content": question}]}


class InstantThread(BatchingThread):
    """Takes calls in and answers all of them once the last one has come."""

    def __init__(self, calls):
        super().__init__(
            resolve_settings(Credentials.of(ACCESS["api_key"], ACCESS["base_url"], None)),
            BatchingOptions(),
        )
        self._calls = calls

    def _enqueue(self, call):
        self._arrived.append(call)
        if len(self._arrived) == self._calls:
            deliver((call, CallResponse(200, ANSWER)) for call in self._drained())


def answered_at_once(calls):
    """A client whose calls are answered at once."""
    client = BatchOpenAI(**ACCESS)
    client._state.shared.batching_thread = InstantThread(calls)
    return client


class Above(openai.AsyncOpenAI):
    """The SDK down to its `request` method: parameters in, typed answer out."""

    async def request(self, cast_to, options, **_):
        openapi_dumps(options.json_data)
        return construct_type(type_=cast_to, value=json.loads(ANSWER))


def through_sdk(client):
    async def call(number):
        return await client.chat.completions.create(**arguments_of(number))

    return call


async def typed_answer(number):
    openapi_dumps(arguments_of(number))
    return ChatCompletion.model_validate_json(ANSWER)


async def nothing(number):
    return arguments_of(number)


async def microseconds(work, calls):
    """CPU of this thread a call, all calls at once."""
    gc.collect()
    gc.disable()
    begun = time.thread_time()
    tasks = []
    for number in range(calls):
        tasks.append(asyncio.create_task(work(number)))
        if number % 500 == 499:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    taken = time.thread_time() - begun
    gc.enable()
    return taken / calls * 1e6


async def measured(calls, runs):
    """The best figure of each layer, by its name."""
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "application/json"}, content=ANSWER)
    )
    whole = openai.AsyncOpenAI(**ACCESS, http_client=httpx2.AsyncClient(transport=transport))
    layers = {
        "a task that does nothing": nothing,
        "the body as JSON, the answer as a ChatCompletion": typed_answer,
        "BatchOpenAI, a thread that answers at once": through_sdk(answered_at_once(calls)),
        "AsyncOpenAI, a `request` that answers at once": through_sdk(Above(**ACCESS)),
        "AsyncOpenAI, a transport that answers at once": through_sdk(whole),
    }
    found = {name: [] for name in layers}
    for _ in range(runs):
        for name, work in layers.items():
            found[name].append(await microseconds(work, calls))
    return {name: min(figures) for name, figures in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print("| layer | CPU us/call of the calling thread |\n|---|---|")
    for name, figure in asyncio.run(measured(arguments.calls, arguments.runs)).items():
        print(f"| {name} | {figure:.1f} |", flush=True)


if __name__ == "__main__":
    main()
