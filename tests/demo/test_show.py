"""What a model or a row wrote reaches the terminal as text and as nothing else."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from doubleword_batch.demo import demo_job
from doubleword_batch.demo.demo_job import DemoResult
from doubleword_batch.demo.folder import AnsweredRow, Comparison, DemoFolder
from doubleword_batch.demo.host import HostCall
from doubleword_batch.demo.show import show_result


@pytest.fixture
def shown(tmp_path):
    """Show one row and one call; returns the text on one line."""
    answers = tmp_path / "answers.csv"
    answers.write_bytes(b"")
    folder = DemoFolder(tmp_path, tmp_path / "in.csv", answers, Path("server.log"))

    def shown(*, topic="plant", reply_bytes=100, model=demo_job.MODEL, once=True):
        row = AnsweredRow("oak", "a tree", "plant", topic, "ok")
        call = HostCall("get_status", {"job": "j"}, 0.1, reply_bytes, 0)
        counted = {"columns": ["topic", "entries"], "rows": [[topic, 1]]}
        output = io.StringIO()
        show_result(
            Console(file=output, width=200, force_terminal=True, markup=False, highlight=False),
            DemoResult("a provider", model, "j", counted, (call,)),
            Comparison((row,), 1, each_row_once=once),
            folder,
        )
        return " ".join(output.getvalue().split())

    return shown


def test_control_characters_and_markup_of_an_answer_do_nothing(shown):
    text = shown(topic="\x1b]0;owned\x07[red]plant\x9b31m")
    assert "\x1b]" not in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "[red]plant" in text


def test_a_reply_over_the_limit_is_not_hidden(shown):
    assert "2,048 is BROKEN" in shown(reply_bytes=2049)
    assert "2,048 is kept" in shown(reply_bytes=2048)


def test_agreement_of_the_bundled_model_is_quoted_only_with_the_figure_for_unseen_rows(shown):
    assert f"never tuned on, this model agreed on {demo_job.UNSEEN_AGREED}" in shown()
    assert "never tuned on" not in shown(model="another-model")


def test_a_table_that_does_not_match_the_source_is_called_out(shown):
    assert "each exactly once" in shown()
    assert "does not match the source" in shown(once=False)
