"""Which calls the provider can take in a batch at all: limits of one request."""

from collections.abc import Sequence

from doubleword_batch.batch_openai.call import Call
from doubleword_batch.batch_openai.outbox import hand_back
from doubleword_batch.errors import InputError
from doubleword_batch.providers import Profile
from doubleword_batch.requests import inputs_of
from doubleword_batch.requests.spec import EMBEDDINGS


def admitted(calls: Sequence[Call], profile: Profile) -> list[Call]:
    """The calls that the provider can take; the others' callers are told why not."""
    taken: list[Call] = []
    for call in calls:
        if call.endpoint == EMBEDDINGS and profile.max_embedding_inputs is not None:
            call.inputs = inputs_of(call.body)
        reason = _refusal(call, profile)
        if reason is None:
            taken.append(call)
        else:
            hand_back([(call, reason)])
    return taken


def _refusal(call: Call, profile: Profile) -> InputError | None:
    if len(call.body) > profile.max_request_bytes:
        return InputError(
            f"The call's body has {len(call.body)} bytes; {profile.title} takes at most "
            f"{profile.max_request_bytes} in a request.",
            hint="Shorten the messages, or send images by URL.",
            code="too_large",
        )
    if call.endpoint not in profile.endpoints:
        return InputError(
            f"{profile.title} takes no batches for {call.endpoint}.",
            hint=f"It takes {', '.join(profile.endpoints)}.",
            code="not_batchable",
        )
    if not call.model:
        return InputError("The call names no model.", hint="Give model=.", code="no_model_named")
    most_inputs = profile.max_embedding_inputs
    if most_inputs is not None and call.inputs > most_inputs:
        return InputError(
            f"The call embeds {call.inputs} inputs; {profile.title} takes at most {most_inputs} in "
            "a batch.",
            hint="Make several calls of it.",
            code="too_many_inputs",
        )
    return None
