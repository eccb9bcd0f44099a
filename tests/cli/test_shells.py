"""Command lines that can be pasted into the shell that runs."""

import re
import shlex
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doubleword_batch.extra_packages import install_line
from doubleword_batch.shell_words import (
    join_words,
    set_variable,
    set_variable_from,
    shell_here,
)

WORDS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1), min_size=1
)
HARD = ["a folder\\", 'a "b\\" c', "100% &", "\\"]  # chance seldom puts such signs together
PROFILE = {"USERPROFILE": r"C:\Users\Ada"}
PWSH = r"C:\Users\Ada\Documents\PowerShell\Modules;c:\program files\powershell\7\Modules"
SYSTEM = (
    r"C:\Program Files\WindowsPowerShell\Modules;C:\Windows\system32\WindowsPowerShell\v1.0\Modules"
)
QUOTES = "'\u2018\u2019\u201a\u201b"


def program_words(line):
    """How a program of Windows takes its command line apart."""
    words, word, quoted, begun, at = [], "", False, False, 0
    while at < len(line):
        run = re.match(r'(\\*)("?)', line[at:])
        slashes, quote = run[1], run[2]
        at += len(run[0])
        if quote:
            word += "\\" * (len(slashes) // 2)
            begun = True
            if len(slashes) % 2:
                word += '"'
            else:
                quoted = not quoted
            continue
        word += slashes
        begun = begun or bool(slashes)
        if at < len(line):
            if line[at] == " " and not quoted:
                words, word, begun = [*words, word] if begun else words, "", False
            else:
                word, begun = word + line[at], True
            at += 1
    return [*words, word] if begun else words


def after_cmd(line):
    """What cmd passes on: a caret outside of quotes makes the next character an ordinary one."""
    passed, quoted, at = "", False, 0
    while at < len(line):
        if line[at] == "^" and not quoted:
            at += 1
        else:
            quoted ^= line[at] == '"'
            assert quoted or line[at] not in "&|<>()%!"
            assert line[at] not in "%!"
        passed += line[at]
        at += 1
    return passed


def powershell_words(line):
    """The words as PowerShell reads them: in single or double quotes, or bare.

    A line that begins with quotes is a text to it, unless `&` has it run that program.
    """
    assert line[0] not in QUOTES + '"'
    line = line.removeprefix("& ")
    quotes = QUOTES
    found = re.findall(
        rf"""[{quotes}]((?:[^{quotes}]|[{quotes}]{{2}})*)[{quotes}]|"([^"]*)"|(\S+)""", line
    )
    return [
        re.sub(rf"([{quotes}])[{quotes}]", r"\1", single) if single else double or bare
        for single, double, bare in found
    ]


@example(HARD)
@given(WORDS)
def test_cmd_passes_the_words_on_as_they_are(words):
    assert program_words(after_cmd(join_words(words, "cmd"))) == words


@example(HARD)
@given(WORDS)
def test_powershell_passes_the_words_on_as_they_are(words):
    assert powershell_words(join_words(words, "pwsh")) == words


@example(HARD)
@given(WORDS)
def test_windows_powershell_passes_the_words_on_as_they_are(words):
    read = powershell_words(join_words(words, "powershell"))
    passed = " ".join(f'"{word}"' if " " in word else word for word in read)  # it adds no more
    assert program_words(passed) == words


@given(WORDS)
def test_other_shells_pass_the_words_on_as_they_are(words):
    assert shlex.split(join_words(words, "sh")) == words


@pytest.mark.parametrize("shell", ["cmd", "powershell", "pwsh"])
def test_a_plain_command_stays_plain_and_a_space_takes_double_quotes(shell):
    words = ["doubleword-batch", "fetch", "reviews-7f3a", "-o", r"C:\my data\out.csv"]
    assert join_words(words, shell) == (
        r'doubleword-batch fetch reviews-7f3a -o "C:\my data\out.csv"'
    )


@pytest.mark.parametrize(("shell", "begin"), [("cmd", '"C:'), ("powershell", '& "C:')])
def test_the_line_that_installs_a_package_runs_a_python_below_a_name_with_a_space(
    monkeypatch, shell, begin
):
    monkeypatch.setattr(sys, "executable", r"C:\Users\Ada L\python.exe")
    monkeypatch.setitem(sys.modules, "pip", sys)
    monkeypatch.setattr("doubleword_batch.shell_words.shell_here", lambda: shell)
    begins = rf'{begin}\Users\Ada L\python.exe" -m pip install --only-binary=:all: "duckdb>='
    assert install_line("duckdb").startswith(begins)


ODD_NAMES = [
    "plain",
    "two words",
    "O'Brien",
    "Ada\u2019s",
    "a [b] c",
    "Größe",
    "100%",
    "R&D!",
    "$HOME",
]


@pytest.mark.parametrize("folder", ODD_NAMES)
@pytest.mark.parametrize("shell", ["powershell", "pwsh"])
def test_powershell_reads_a_key_from_a_file_below_any_name(folder, shell):
    path = rf"C:\Users\{folder}\token"
    line = set_variable_from("OPENAI_API_KEY", path, shell)
    assert line.startswith("$env:OPENAI_API_KEY = (Get-Content -LiteralPath '")
    command = line.partition(" = (")[2].removesuffix(")")
    assert powershell_words(command) == ["Get-Content", "-LiteralPath", path]


@pytest.mark.parametrize("folder", ODD_NAMES)
@pytest.mark.posix("a shell of POSIX")
def test_other_shells_read_a_key_from_a_file_below_any_name(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "token").write_text("k-1\n", encoding="utf-8")
    lines = [
        set_variable("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1", "sh"),
        set_variable_from("OPENAI_API_KEY", str(tmp_path / folder / "token"), "sh"),
        'echo "$OPENAI_BASE_URL $OPENAI_API_KEY"',
    ]
    ran = subprocess.run(
        ["sh", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=30, check=True
    )
    assert (ran.stdout, ran.stderr) == ("http://127.0.0.1:8000/v1 k-1\n", "")


@pytest.mark.skipif(sys.platform != "win32", reason="cmd")
@pytest.mark.parametrize("folder", [name for name in ODD_NAMES if name != "Größe"])
def test_cmd_reads_a_key_from_a_file_below_any_name(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "token").write_text("k-1\n", encoding="utf-8")
    line = set_variable_from("OPENAI_API_KEY", str(tmp_path / folder / "token"), "cmd")
    ran = subprocess.run(
        f'cmd /d /s /c "{line}&& set OPENAI_API_KEY"',
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.stdout.strip() == "OPENAI_API_KEY=k-1"


@pytest.mark.parametrize(
    ("platform", "env", "shell"),
    [
        ("linux", {"PSModulePath": "/opt"}, "sh"),
        ("win32", PROFILE | {"PSModulePath": SYSTEM}, "cmd"),
        ("win32", {}, "cmd"),
        ("win32", PROFILE | {"PSModulePath": rf"{PROFILE['USERPROFILE']}\Documents;{SYSTEM}"},
         "powershell"),
        ("win32", PROFILE | {"PSModulePath": PWSH}, "pwsh"),
        ("win32", PROFILE | {"PSModulePath": SYSTEM, "MSYSTEM": "MINGW64"}, "sh"),
    ],
)  # fmt: skip
def test_the_shell_is_told_by_its_environment(platform, env, shell):
    assert shell_here(env, platform) == shell
