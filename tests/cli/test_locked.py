"""`run --locked`: a table made again from its lock file, also where nothing else is known of it."""

import json

import pytest

PROMPT = ("--prompt", "Say {{ text }}")


def test_repeats_the_same_job_and_in_a_fresh_state_directory_says_what_has_changed(shell):
    shell.json("run", "rows.csv", *PROMPT, "--param", "seed=9", "-o", "answers.csv")
    path = shell.folder / "answers.lock.json"
    lock = json.loads(path.read_text(encoding="utf-8"))
    table = (shell.folder / "answers.csv").read_bytes()
    again = shell.run("run", "--locked", "answers.lock.json")
    assert again.returncode == 0, again.stderr
    assert "Nothing has changed" in again.stderr
    assert f"job       {lock['job']['name']}" in again.stdout
    assert (shell.folder / "answers.csv").read_bytes() == table

    shell.write("rows.csv", "id,text\n1,good\n2,bad\n3,so so\n4,new\n")
    lock["versions"]["doubleword-batch"] = "0.0.1"
    path.write_text(json.dumps(lock), encoding="utf-8")
    fresh = {"DOUBLEWORD_BATCH_HOME": str(shell.folder / "fresh")}
    done = shell.json("run", "--locked", "answers.lock.json", "-o", "again.jsonl", **fresh)
    assert done["ledger"] == {"ok": 4}
    assert done["differs"][0] == "The source has changed (3 rows then, 4 now)."
    assert any("version of doubleword-batch was «0.0.1»" in words for words in done["differs"])
    made = json.loads((shell.folder / "again.lock.json").read_text(encoding="utf-8"))
    assert made["request"]["params"] == {"seed": 9}

    lock["request"]["model"] = "a-model-of-last-year"
    path.write_text(json.dumps(lock), encoding="utf-8")
    arguments = ("run", "--locked", "answers.lock.json", "-o", "other.csv")
    error = shell.json(*arguments, code=3, **fresh)["error"]
    assert error["code"] == "invalid_argument"
    assert "nothing was submitted" in error["message"]


def test_another_model_and_a_table_that_was_edited_are_named(shell):
    shell.json("run", "rows.csv", *PROMPT, "-o", "answers.csv")
    path = shell.folder / "answers.lock.json"
    lock = json.loads(path.read_text(encoding="utf-8"))
    lock["request"]["model"] = "a-model-of-last-year"
    path.write_text(json.dumps(lock), encoding="utf-8")
    with (shell.folder / "answers.csv").open("a", encoding="utf-8") as table:
        table.write("4,added by hand\n")
    given = ("--locked", "answers.lock.json", "--model", "simulated-chat", "-o", "again.csv")
    assert shell.json("run", *given)["differs"] == [
        "The model was «a-model-of-last-year» and is «simulated-chat».",
        "answers.csv has changed since it was written.",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_lock_file_that_an_editor_of_windows_saved_is_read(shell, encoding):
    shell.json("run", "rows.csv", *PROMPT, "-o", "answers.csv")
    path = shell.folder / "answers.lock.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text, encoding=encoding, newline="\r\n")
    again = shell.run("run", "--locked", "answers.lock.json")
    assert again.returncode == 0, again.stderr
    assert "Nothing has changed" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "SOURCE"),
        (("rows.csv", "-o", "x.csv"), "--prompt"),
        (("rows.csv", *PROMPT), "--output"),
        (("--locked", "a.lock.json", *PROMPT), "--locked"),
    ],
)
def test_what_is_missing_or_too_much_is_named(shared, arguments, words):
    error = shared.json("run", *arguments, code=2)["error"]
    assert words in error["message"]
