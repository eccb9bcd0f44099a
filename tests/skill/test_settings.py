"""Values that a shell would have read, and a host did not: refused here and by the skill."""

import pytest

from doubleword_batch.errors import ConfigError
from doubleword_batch.settings import Settings
from skill.in_process import script_module

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
    with pytest.raises(script_module("ending").Stop) as skills:
        script_module("settings").read_settings()
    for told in (str(ours.value), str(skills.value)):
        assert name in told
        assert KEY not in told
