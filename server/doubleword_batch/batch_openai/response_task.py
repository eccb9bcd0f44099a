"""One call of the asynchronous tier: begun once, asked for by its id, given to its caller."""

from doubleword_batch.batch_openai.batch_task import BatchTask
from doubleword_batch.batch_openai.call import Call, CallResponse, Outcome
from doubleword_batch.batch_openai.chat_as_response import CHAT, as_chat_body
from doubleword_batch.jobs.background_calls import begin_response, read_response

_ERRORS_FROM = 400


class ResponseTask(BatchTask):
    """A job whose one row is a response in the background; as `BatchTask` otherwise."""

    _response_id = ""

    async def _submit(self) -> None:
        async with self._limits.submitting:
            self._response_id = await begin_response(self.job)

    async def _poll(self) -> bool:
        has_ended = await read_response(self.job, self._response_id)
        if has_ended or self._has_joined:
            self._has_joined = False
            await self._deliver_finished(self._response_id, self.waiting)
        return has_ended

    def _outcome_for(self, call: Call, outcome: Outcome) -> Outcome:
        if (
            call.endpoint == CHAT
            and isinstance(outcome, CallResponse)
            and outcome.status < _ERRORS_FROM
        ):
            return CallResponse(outcome.status, as_chat_body(outcome.body))
        return outcome
