"""The skill reads the environment as the package does, or refuses it."""

import os
from itertools import product

import pytest

from doubleword_batch.errors import ConfigError
from doubleword_batch.settings import Settings
from skill.places import script_module

KEY = "sk-do-not-show"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DOUBLEWORD_API_KEY", f'"{KEY}"'),
        ("DOUBLEWORD_API_KEY", f"'{KEY}'"),
        ("DOUBLEWORD_API_KEY", "${DOUBLEWORD_API_KEY}"),
        ("DOUBLEWORD_API_KEY", "%DOUBLEWORD_API_KEY%"),
        ("DOUBLEWORD_BASE_URL", '"https://batch.example/v1"'),
        ("DOUBLEWORD_BATCH_MAX_COST_USD", '"5"'),
    ],
)
def test_quotes_and_variables_that_nothing_read_are_refused_with_their_name(
    monkeypatch, name, text
):
    environment = {"DOUBLEWORD_API_KEY": KEY, name: text}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as ours:
        Settings.from_environment(environment)
    with pytest.raises(script_module("cli").ScriptError) as skills:
        script_module("settings").read_settings()
    for told in (str(ours.value), str(skills.value)):
        assert name in told
        assert KEY not in told


FAMILIES = {
    "DOUBLEWORD_API_KEY": ["", KEY],
    "DOUBLEWORD_BASE_URL": ["", "https://batch.example/v1", "http://127.0.0.1:9/v1"],
    "OPENAI_API_KEY": ["", "sk-openais"],
    "OPENAI_BASE_URL": ["", "https://gateway.example/v1", "http://127.0.0.1:9/v1"],
}


@pytest.mark.parametrize("named", ["", "openai", "doubleword", "generic", "local", "azure"])
def test_the_skill_sends_rows_and_key_where_the_package_sends_them_or_nowhere(monkeypatch, named):
    for name in [name for name in os.environ if name.startswith(("DOUBLEWORD_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    stop, read_settings = script_module("cli").ScriptError, script_module("settings").read_settings
    sent = 0
    for values in product(*FAMILIES.values()):
        given = dict(zip(FAMILIES, values, strict=True)) | {"DOUBLEWORD_BATCH_PROVIDER": named}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        try:
            package = Settings.from_environment(given)
            expected = (package.base_url, package.api_key.reveal() if package.api_key else "")
            refusal = ""
        except ConfigError as error:
            expected, refusal = None, error.message
        told = ""
        try:
            skills = read_settings()
        except stop as error:
            told = str(error)
        if told:
            assert "it is not clear where" not in refusal or refusal in told
            continue
        sent += 1
        stated = (given["DOUBLEWORD_BASE_URL"], "")  # on this machine, without any key
        assert (skills.base_url, skills.key) == (expected or stated), given
    assert bool(sent) == (named not in {"local", "azure"})


ALIKE = [
    "HTTPS://API.doubleword.ai/v1",
    "https://api.doubleword.ai:443//v1/",
    "https://API.openai.com/v1",
    "https://Batch.Example:8443/V1/",
    "http://LocalHost:80/v1",
    "http://[::1]:8080/v1",
    "https://Bücher.example/v1",
]
REFUSED = {
    "https://api.doubleword.ai": "is not the base URL of https://api.doubleword.ai's API",
    "https://api.openai.com/v1/batches": "is not the base URL of https://api.openai.com's API",
    "https://@batch.example/v1": "",
    "https://batch.example/v1?": "",
    "https://xn--a/v1": "",
    "https://batch..example/v1": "",
    f"https://{'a' * 64}.example/v1": "",
    f"https://{'ü' * 64}.example/v1": "",
    "https://batch.example/vü": "",
}


@pytest.fixture
def addressed(monkeypatch):
    """Set an address and a key, and nothing else."""

    def setting(url):
        for name in [name for name in os.environ if name.startswith(("DOUBLEWORD_", "OPENAI_"))]:
            monkeypatch.delenv(name)
        environment = {"DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": url}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return environment

    return setting


@pytest.mark.parametrize("url", ALIKE)
def test_an_address_means_the_same_server_to_the_skill_and_to_the_package(addressed, url):
    package = Settings.from_environment(addressed(url))
    skills = script_module("settings").read_settings()
    assert (skills.base_url, skills.provider) == (package.base_url, package.provider)


@pytest.mark.parametrize(("url", "words"), REFUSED.items())
def test_an_address_that_the_package_refuses_the_skill_refuses_too(addressed, url, words):
    with pytest.raises(ConfigError) as ours:
        Settings.from_environment(addressed(url))
    with pytest.raises(script_module("cli").ScriptError) as skills:
        script_module("settings").read_settings()
    for told in (str(ours.value), str(skills.value)):
        assert "DOUBLEWORD_BASE_URL" in told
        assert words in told
