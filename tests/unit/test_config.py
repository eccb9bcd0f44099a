"""The environment read once, and its keys kept to themselves."""

import errno
import os
import pickle
from decimal import Decimal
from pathlib import Path

import pytest

from doubleword_batch.batch_openai.credentials import resolve_settings
from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.loopback import is_loopback
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Secret, Settings
from doubleword_batch.variables import HOSTED_BASE_URL, OPENAI_BASE_URL, check_base_url

KEY = "sk-do-not-leak"
read = Settings.from_environment


def test_an_empty_environment_is_the_local_server_in_the_working_directory():
    settings = read({})
    assert (settings.provider, settings.base_url, settings.api_key) == ("local", "", None)
    assert settings.roots == (Path.cwd(),)
    assert not settings.roots_are_explicit
    assert settings.home.is_absolute()
    assert settings.max_cost_usd is None
    assert settings.local_executor is None
    assert not settings.read_only


@pytest.mark.posix("working directories that cannot be read")
def test_in_a_working_directory_that_cannot_be_read_only_relative_paths_fail(monkeypatch, tmp_path):
    """As macOS keeps the programs of its launcher from a person's folders."""

    def refused():
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "getcwd", refused)
    home = {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "home")}
    roots = Roots(None, state_directory=read(home).home)
    assert roots.writable(tmp_path / "answers.csv") == tmp_path / "answers.csv"
    with pytest.raises(InputError) as failed:
        roots.writable("answers.csv")
    assert "give an absolute path" in failed.value.hint
    with pytest.raises(ConfigError, match="DOUBLEWORD_BATCH_HOME names a relative path"):
        read({"DOUBLEWORD_BATCH_HOME": "state"})


@pytest.mark.posix("links")
@pytest.mark.parametrize("started_in", ["", "ada", "ada/data"])
def test_a_home_folder_that_is_reached_by_a_link_is_no_root_nor_what_holds_it(
    tmp_path, monkeypatch, started_in
):
    (tmp_path / "disk" / "ada" / "data").mkdir(parents=True)
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "ada"))
    monkeypatch.chdir(tmp_path / "home" / started_in)
    expected = (tmp_path / "disk" / started_in,) if started_in == "ada/data" else ()
    assert read({}).roots == expected


@pytest.mark.parametrize(
    ("env", "provider", "url"),
    [
        ({"DOUBLEWORD_API_KEY": KEY}, "doubleword", HOSTED_BASE_URL),
        (
            {"DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": HOSTED_BASE_URL + "/"},
            "doubleword",
            HOSTED_BASE_URL,
        ),
        (
            {"DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": "https://batch.example/v1"},
            "generic",
            "https://batch.example/v1",
        ),
        (
            {"DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": OPENAI_BASE_URL},
            "openai",
            OPENAI_BASE_URL,
        ),
        ({"DOUBLEWORD_BATCH_PROVIDER": "OpenAI", "OPENAI_API_KEY": KEY}, "openai", OPENAI_BASE_URL),
        (
            {
                "DOUBLEWORD_BATCH_PROVIDER": "openai",
                "OPENAI_API_KEY": KEY,
                "OPENAI_BASE_URL": "https://gateway.example/v1",
            },
            "openai",
            "https://gateway.example/v1",
        ),
        (
            {
                "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
                "DOUBLEWORD_API_KEY": KEY,
                "DOUBLEWORD_BASE_URL": "https://self-hosted.example/ai/v1",
            },
            "doubleword",
            "https://self-hosted.example/ai/v1",
        ),
    ],
)
def test_the_provider_follows_from_name_key_and_address(env, provider, url):
    settings = read(env)
    assert (settings.provider, settings.base_url) == (provider, url)
    assert settings.api_key == Secret(KEY)


def test_a_server_on_this_machine_needs_no_key():
    settings = read({"DOUBLEWORD_BASE_URL": "http://127.0.0.1:8080/v1"})
    assert (settings.provider, settings.api_key) == ("generic", None)


def test_the_local_server_is_never_given_the_key():
    settings = read({"DOUBLEWORD_BATCH_PROVIDER": "local", "DOUBLEWORD_API_KEY": KEY})
    assert settings.api_key is None


def test_an_openai_key_alone_is_not_picked_up():
    assert read({"OPENAI_API_KEY": KEY}).provider == "local"


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"DOUBLEWORD_BATCH_PROVIDER": "doubleword"}, "DOUBLEWORD_API_KEY"),
        ({"DOUBLEWORD_BATCH_PROVIDER": "openai"}, "DOUBLEWORD_API_KEY"),
        ({"DOUBLEWORD_BASE_URL": "https://batch.example/v1"}, "DOUBLEWORD_API_KEY"),
        (
            {"DOUBLEWORD_BATCH_PROVIDER": "generic", "DOUBLEWORD_API_KEY": KEY},
            "DOUBLEWORD_BASE_URL",
        ),
        ({"DOUBLEWORD_BATCH_PROVIDER": "azure"}, "DOUBLEWORD_BATCH_PROVIDER"),
        ({"DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "gpu"}, "DOUBLEWORD_BATCH_LOCAL_EXECUTOR"),
        ({"DOUBLEWORD_BATCH_LOCAL_URL": "http://ollama.lan/v1"}, "DOUBLEWORD_BATCH_LOCAL_URL"),
        ({"DOUBLEWORD_BATCH_ROOTS": "/no/such/folder"}, "DOUBLEWORD_BATCH_ROOTS"),
        ({"DOUBLEWORD_BATCH_ROOTS": os.pathsep}, "DOUBLEWORD_BATCH_ROOTS"),
        ({"DOUBLEWORD_BATCH_MAX_COST_USD": "ten"}, "DOUBLEWORD_BATCH_MAX_COST_USD"),
        ({"DOUBLEWORD_BATCH_MAX_COST_USD": "-1"}, "DOUBLEWORD_BATCH_MAX_COST_USD"),
        ({"DOUBLEWORD_BATCH_MAX_DAILY_USD": "NaN"}, "DOUBLEWORD_BATCH_MAX_DAILY_USD"),
        ({"DOUBLEWORD_BATCH_MAX_DAILY_USD": "inf"}, "DOUBLEWORD_BATCH_MAX_DAILY_USD"),
        ({"DOUBLEWORD_BATCH_READ_ONLY": "perhaps"}, "DOUBLEWORD_BATCH_READ_ONLY"),
        ({"DOUBLEWORD_BATCH_LOG": "loud"}, "DOUBLEWORD_BATCH_LOG"),
        ({"DOUBLEWORD_API_KEY": f'"{KEY}"'}, "DOUBLEWORD_API_KEY has quotes around its value"),
        (
            {"DOUBLEWORD_BATCH_HOME": "'/tmp/x'"},
            "DOUBLEWORD_BATCH_HOME has quotes around its value",
        ),
        ({"DOUBLEWORD_API_KEY": f"Bearer {KEY}"}, "DOUBLEWORD_API_KEY contains a space"),
        (
            {"DOUBLEWORD_BATCH_PROVIDER": "openai", "OPENAI_API_KEY": f"{KEY}\u200b"},
            "OPENAI_API_KEY contains",
        ),
        ({"DOUBLEWORD_PLATFORM_KEY": "<your key>"}, "DOUBLEWORD_PLATFORM_KEY contains a space"),
        ({"OPENAI_BASE_URL": '"https://x/v1"'}, "OPENAI_BASE_URL has quotes around its value"),
        ({"DOUBLEWORD_API_KEY": "${DOUBLEWORD_API_KEY}"}, "DOUBLEWORD_API_KEY begins with ${"),
        ({"DOUBLEWORD_API_KEY": "${env:MY_KEY}"}, "DOUBLEWORD_API_KEY begins with ${env:MY_KEY}"),
        ({"DOUBLEWORD_BATCH_HOME": "$HOME/state"}, "DOUBLEWORD_BATCH_HOME begins with $HOME"),
        ({"DOUBLEWORD_BATCH_HOME": "%TEMP%\\x"}, "DOUBLEWORD_BATCH_HOME begins with %TEMP%"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable_and_the_way_out(env, name):
    with pytest.raises(ConfigError) as caught:
        read(env)
    assert name in str(caught.value)
    assert caught.value.hint
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://batch.example/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://localhost.evil.example/v1",
        "http://10.0.0.1/v1",
        "ftp://batch.example/v1",
        "batch.example/v1",
        "https://",
        "https://user:sk-do-not-leak@batch.example/v1",
        "https://batch.example/v1?key=sk-do-not-leak",
        "https://batch.example/v1#x",
        "https://batch.example/v1?",
        "https://@batch.example/v1",
        "https://xn--a/v1",
        "https://batch..example/v1",
        f"https://{'a' * 64}.example/v1",
        f"https://{'ü' * 64}.example/v1",
        "https://batch.example/vü",
        "http://127.0.0.1@evil.example/v1",
        "https://batch.example /v1",
        "https://batch.example/v1\nx",
    ],
)
def test_a_key_is_sent_over_https_or_to_this_machine_and_nowhere_else(url):
    with pytest.raises(ConfigError) as caught:
        check_base_url("DOUBLEWORD_BASE_URL", url)
    assert caught.value.code == "invalid_setting"
    assert caught.value.message.startswith("DOUBLEWORD_BASE_URL ")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/v1/",
        "https://x.example./v1",
        "https://bücher.example/v1",
        "http://localhost:1/v1",
        "http://127.9.9.9/v1",
        "http://[::1]/v1",
    ],
)
def test_a_usable_address_loses_only_its_last_slash(url):
    assert check_base_url("X", url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("written", "provider", "url"),
    [
        ("HTTPS://API.doubleword.ai/v1", "doubleword", HOSTED_BASE_URL),
        ("https://api.doubleword.ai:443/v1/", "doubleword", HOSTED_BASE_URL),
        ("https://api.doubleword.ai//v1", "doubleword", HOSTED_BASE_URL),
        ("https://API.OpenAI.com/v1//", "openai", OPENAI_BASE_URL),
        ("http://LocalHost:80/v1", "generic", "http://localhost/v1"),
        ("https://Batch.Example:8443/V1", "generic", "https://batch.example:8443/V1"),
    ],
)
def test_an_address_is_the_same_however_it_is_spelt(written, provider, url):
    settings = read({"DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": written})
    assert (settings.provider, settings.base_url) == (provider, url)


@pytest.mark.parametrize("path", ["", "/", "/v1/batches", "/v1/chat/completions/"])
@pytest.mark.parametrize("known", [HOSTED_BASE_URL, OPENAI_BASE_URL])
def test_an_address_of_a_known_server_that_is_not_its_api_names_the_one_that_is(known, path):
    url = known.removesuffix("/v1") + path
    with pytest.raises(ConfigError, match="DOUBLEWORD_BASE_URL is not the base URL") as caught:
        read({"DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": url})
    assert caught.value.hint == f"Set DOUBLEWORD_BASE_URL to {known}."


def test_a_command_keeps_its_quotes_and_variables_of_others_are_their_own_affair():
    commands = {"DOUBLEWORD_BATCH_ON_DONE": '"/opt/my tool" --title "done"', "PS1": "$HOME"}
    assert read(commands).on_done == commands["DOUBLEWORD_BATCH_ON_DONE"]


def test_loopback_is_this_machine_only():
    assert all(map(is_loopback, ["localhost", "LOCALHOST", "127.0.0.1", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "localhost.x", ""]))  # noqa: S104  # must be no


def test_a_key_shows_in_no_repr_text_or_pickle():
    settings = read(
        {
            "DOUBLEWORD_API_KEY": KEY,
            "DOUBLEWORD_BATCH_LOCAL_KEY": KEY + "-2",
            "DOUBLEWORD_BATCH_LOCAL_URL": "https://gpu.example/v1",
        }
    )
    assert settings.api_key is not None
    assert settings.local_key is not None
    assert settings.api_key.reveal() == KEY
    for shown in (repr(settings), str(settings.api_key), f"{settings.local_key!r}"):
        assert KEY not in shown
    assert not hasattr(settings.api_key, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(settings)
    assert settings.api_key != settings.local_key


def test_caps_are_exact_and_zero_is_a_cap():
    settings = read(
        {"DOUBLEWORD_BATCH_MAX_COST_USD": "2.10", "DOUBLEWORD_BATCH_MAX_DAILY_USD": "0"}
    )
    assert (settings.max_cost_usd, settings.max_daily_usd) == (Decimal("2.10"), Decimal(0))


def test_a_state_directory_that_no_database_can_lie_in_is_refused_in_words():
    for given in ({"home": "/state/\udcff"}, {}):
        with pytest.raises(ConfigError, match="not UTF-8") as caught:
            Settings.from_environment({"DOUBLEWORD_BATCH_HOME": "/state/\udcff"}, **given)
        assert "DOUBLEWORD_BATCH_HOME" in caught.value.hint


def test_a_state_directory_with_a_nul_is_refused():
    for variables, given in (({"DOUBLEWORD_BATCH_HOME": "/a\0b"}, None), ({}, "/a\0b")):
        with pytest.raises(ConfigError, match="holds a NUL character"):
            Settings.from_environment(variables, home=given)


def test_a_state_directory_may_begin_at_home_and_end_in_a_slash(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read({"DOUBLEWORD_BATCH_HOME": "~/a b/"}).home == tmp_path / "a b"


def test_folders_are_listed_with_the_path_separator(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    listed = os.pathsep.join(str(tmp_path / name) for name in "ab") + os.pathsep
    settings = read({"DOUBLEWORD_BATCH_ROOTS": listed, "DOUBLEWORD_BATCH_HOME": "state"})
    assert settings.roots == (tmp_path / "a", tmp_path / "b")
    assert settings.roots_are_explicit
    assert settings.home == Path.cwd() / "state"


@pytest.mark.parametrize(
    ("text", "expected"), [("1", True), ("Yes", True), ("", False), ("0", False)]
)
def test_read_only_is_a_switch(text, expected):
    assert read({"DOUBLEWORD_BATCH_READ_ONLY": text}).read_only is expected


def test_spaces_around_a_value_are_dropped():
    assert read({"DOUBLEWORD_API_KEY": f" {KEY}\n"}).api_key == Secret(KEY)


def test_the_process_s_own_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("DOUBLEWORD_BATCH_PROVIDER", "local")
    monkeypatch.setenv("DOUBLEWORD_BATCH_LOG", "DEBUG")
    assert Settings.from_environment().log_level == "debug"


GATEWAY = "https://gateway.example/v1"


@pytest.mark.parametrize(
    ("named", "key", "address"),
    [
        ("openai", "OPENAI_API_KEY", "DOUBLEWORD_BASE_URL"),
        ("openai", "DOUBLEWORD_API_KEY", "OPENAI_BASE_URL"),
        ("", "OPENAI_API_KEY", "DOUBLEWORD_BASE_URL"),
        ("", "DOUBLEWORD_API_KEY", "OPENAI_BASE_URL"),
    ],
)
@pytest.mark.parametrize("by", ["Settings", "BatchOpenAI"])
def test_a_key_of_one_family_with_the_address_of_the_other_is_an_error_that_names_both(
    named, key, address, by
):
    env = {"DOUBLEWORD_BATCH_PROVIDER": named, key: KEY, address: GATEWAY}
    with pytest.raises(ConfigError) as caught:
        read(env) if by == "Settings" else resolve_settings(environ=env)
    assert key in caught.value.message
    assert address in caught.value.message
    assert caught.value.code == "invalid_setting"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (
            {"OPENAI_BASE_URL": "https://o.example/v1"},
            "OPENAI_BASE_URL is set, but OPENAI_API_KEY is not",
        ),
        (
            {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://o.example/v1"},
            "OPENAI_BASE_URL is plain http",
        ),
        ({"DOUBLEWORD_API_KEY": KEY, "DOUBLEWORD_BASE_URL": "x"}, "DOUBLEWORD_BASE_URL is not"),
    ],
)
def test_an_error_names_the_variable_that_was_read(env, told):
    with pytest.raises(ConfigError) as caught:
        resolve_settings(environ=env)
    assert caught.value.message.startswith(told)
    assert ("DOUBLEWORD" in told) == ("DOUBLEWORD_BASE_URL" in str(caught.value))


@pytest.mark.parametrize(
    ("more", "goes_to", "key"),
    [
        (
            {"DOUBLEWORD_BATCH_PROVIDER": "openai", "DOUBLEWORD_API_KEY": "sk-1"},
            OPENAI_BASE_URL,
            KEY,
        ),
        ({"DOUBLEWORD_API_KEY": "sk-1"}, GATEWAY, "sk-1"),
        (
            {"DOUBLEWORD_BATCH_PROVIDER": "openai", "OPENAI_BASE_URL": "https://o/v1"},
            "https://o/v1",
            KEY,
        ),
    ],
)
def test_a_family_that_is_complete_is_taken_whatever_there_is_of_the_other(more, goes_to, key):
    settings = read({"OPENAI_API_KEY": KEY, "DOUBLEWORD_BASE_URL": GATEWAY, **more})
    assert (settings.base_url, settings.api_key.reveal()) == (goes_to, key)


def test_an_address_on_this_machine_needs_no_key_of_its_own():
    here = "http://127.0.0.1:8000/v1"
    settings = read({"OPENAI_API_KEY": KEY, "DOUBLEWORD_BASE_URL": here})
    assert (settings.base_url, settings.api_key) == (here, None)
    ours = read({"DOUBLEWORD_API_KEY": KEY, "OPENAI_BASE_URL": "http://localhost:11434/v1"})
    assert ours.base_url == HOSTED_BASE_URL
