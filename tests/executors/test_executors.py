"""Which executor a configuration gets, and what the human reads when it cannot be had."""

import sys

import pytest

from doubleword_batch.errors import ConfigError
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Request
from doubleword_batch.local.executors.factory import build_executor, default_executor
from doubleword_batch.local.executors.faults import Faults, RequestFault


def refusal(home, **options):
    with pytest.raises(ConfigError) as raised:
        build_executor(LocalConfig(home=home, **options))
    return raised.value


async def test_each_executor_says_by_name_and_in_a_sentence_what_answers(home_with_models):
    notes = {}
    for name in ("simulate", "builtin", "upstream"):
        config = LocalConfig(
            home=home_with_models, executor=name, upstream_url="http://127.0.0.1:1/v1"
        )
        executor = build_executor(config)
        assert executor.name == name
        assert executor.concurrency >= 1
        notes[name] = executor.note
        await executor.close()
    assert "simulated" in notes["simulate"]
    assert "demo model" in notes["builtin"]
    assert "http://127.0.0.1:1/v1" in notes["upstream"]


async def test_the_faults_of_the_configuration_reach_the_simulator(tmp_path):
    faults = Faults(requests=(RequestFault(fault="refusal"),))
    executor = build_executor(LocalConfig(home=tmp_path, faults=faults))
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    answer = await executor.run(Request("1", "row", "/v1/chat/completions", body))
    assert answer.body["choices"][0]["message"]["refusal"]


def test_without_a_model_the_error_names_the_three_ways_out(tmp_path):
    error = refusal(tmp_path, executor="builtin")
    assert error.code == "no_model"
    for way_out in ("DOUBLEWORD_API_KEY", "doubleword-batch local pull", "_LOCAL_URL"):
        assert way_out in error.hint


def test_without_the_extra_the_error_names_what_to_install(home_with_models, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr(sys, "path", [])
    error = refusal(home_with_models, executor="builtin")
    assert error.code == "no_extra"
    assert f"{sys.executable} " in error.hint
    assert "xllamacpp" in error.hint
    assert default_executor(home_with_models, None, None) is None


def test_a_model_file_that_is_not_there_is_named(tmp_path):
    error = refusal(tmp_path, executor="builtin", model_path=tmp_path / "absent.gguf")
    assert error.code == "no_model"
    assert "absent.gguf" in error.message


async def test_a_model_of_ones_own_is_known_by_its_file_name(extra_local, tmp_path):
    gguf = tmp_path / "my-model.gguf"
    gguf.write_bytes(b"GGUF")
    executor = build_executor(LocalConfig(home=tmp_path, executor="builtin", model_path=gguf))
    assert [(m.id, m.kind) for m in await executor.models()] == [("my-model", "chat")]
    assert "my-model" in executor.note
    await executor.close()


def test_upstream_without_an_address_says_which_variable_to_set(tmp_path):
    error = refusal(tmp_path, executor="upstream")
    assert error.code == "invalid_setting"
    assert "no server" in error.message
    assert "DOUBLEWORD_BATCH_LOCAL_URL" in error.hint


def test_the_default_is_a_server_that_was_named_then_the_model_then_nothing(
    tmp_path, home_with_models
):
    assert default_executor(home_with_models, None, "http://127.0.0.1:1/v1") == "upstream"
    assert default_executor(home_with_models, None, None) == "builtin"
    assert default_executor(tmp_path, tmp_path / "own.gguf", None) == "builtin"
    assert default_executor(tmp_path, None, None) is None
