"""How many inputs an embeddings request has: some providers limit their sum in a file."""

from typing import Any

import msgspec


class _Body(msgspec.Struct):
    input: Any = None


_decode = msgspec.json.Decoder(_Body).decode


def inputs_of(body: bytes | msgspec.Raw) -> int:
    """The inputs of a request's body: a list's length; 1 for one text, or for one text's tokens.

    Args:
        body: a JSON object, as OpenAI's embeddings API takes it.
    """
    match _decode(body).input:
        case [str() | list(), *_] as inputs:
            return len(inputs)
        case _:
            return 1
