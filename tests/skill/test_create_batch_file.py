import json
import random

import pytest

from doubleword_batch.paths import Roots
from doubleword_batch.providers import profile
from doubleword_batch.requests import RequestSpec, build_request_files
from doubleword_batch.sources import open_source
from skill.places import script_module

CHAT = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"größe": {"type": "number", "minimum": 1e-07}}}


@pytest.fixture
def built_by_package(work, tmp_path):
    """The bytes of the files that the package builds."""

    def build(table, *, limit=None, profile_changes=None, **fields):
        spec = RequestSpec(**{"endpoint": CHAT, "model": "m"} | fields)
        source = open_source(str(table), Roots((work,)))
        limits = profile("doubleword").model_copy(update=profile_changes or {})
        built = build_request_files(source, spec, limits, tmp_path / "built", limit=limit)
        return [file.path.read_bytes() for file in built.files]

    return build


def written(work):
    parts = sorted(work.glob("requests*.jsonl"), key=lambda path: (len(path.name), path.name))
    return [path.read_bytes() for path in parts]


TABLES = {
    "plain.csv": b"text,id\nhello,a 1\nworld,\xc3\x84pfel/7\n",
    "excel.csv": b'\xef\xbb\xbfid;text\r\n1;"a ""quoted"" word\r\nand a line; more"\r\n\r\n2;\r\n',
    "sep.csv": b"sep=|\nid|text\n1|a,b;c\n",
    "old-mac.csv": b'id,text\r1,one\r2,"two\nlines"\r',
    "tabs.tsv": b"id\ttext\n1\ta,b\n\n2\t{{ text }} %s {% if %}\n",
    "lines.jsonl": (
        '\ufeff{"id": 1, "text": "ä \\u2028 \\u0001 \\ud83d\\ude00"}\n\n'
        '{"text": {"b": [1.0, 1e16, 1e-5, 1.25e-05, 1e-6, -0.0, 1e22, true, null], "a": "x"},'
        ' "id": 1.5}\n{"id": null, "text": 12345678901234567890123}\n'
    ).encode(),
    "lines.csv": b'{"id": 1, "text": "a, b"}\n{"id": 2, "text": "c"}\n',
    "array.tsv": b'\xef\xbb\xbf[{"id": 1, "text": "a"}]',
    "array.json": b' [{"id": "x", "text": null}, {"text": "b", "id": [1, 2]}] ',
}


@pytest.mark.parametrize("name", TABLES)
def test_writes_the_bytes_that_the_package_writes(run, work, built_by_package, name):
    (work / name).write_bytes(TABLES[name])

    prompt = "100% of {{ id }}:\r\n{{text}}\n"
    done = run(
        "create_batch_file.py", name, "--prompt", prompt, "--system", "Be {{ id }}.", "--model",
        "m", "--id-column", "id", "--param", "temperature=0.00001", "--param", "stop=é",
        "--schema", json.dumps(SCHEMA), "--output", "requests.jsonl",
    )  # fmt: skip

    assert done.code == 0, done.err
    assert written(work) == built_by_package(
        work / name,
        prompt=prompt,
        system="Be {{ id }}.",
        id_column="id",
        params={"temperature": 1e-05, "stop": "é"},
        response_schema=SCHEMA,
    )


@pytest.mark.parametrize("endpoint", ["/v1/embeddings", "/v1/responses"])
def test_writes_the_packages_bytes_for_the_other_endpoints(run, work, built_by_package, endpoint):
    (work / "t.csv").write_text("text\na\nb\nc\n")
    fields = {} if endpoint == "/v1/embeddings" else {"system": "Be brief."}
    system = ["--system", fields["system"]] if fields else []

    done = run(
        "create_batch_file.py", "t.csv", "--prompt", "{{ text }}", "--model", "m", "--endpoint",
        endpoint, "--limit", "2", "--output", "requests.jsonl", *system,
    )  # fmt: skip

    assert done.code == 0, done.err
    expected = built_by_package(
        work / "t.csv", prompt="{{ text }}", endpoint=endpoint, limit=2, **fields
    )
    assert written(work) == expected


def test_writes_every_number_as_the_package_does(run, work, built_by_package):
    dice = random.Random(7)  # test data
    numbers = [dice.uniform(-1, 1) * 10.0 ** dice.randint(-320, 300) for _ in range(500)]
    numbers += [10.0**n for n in range(-20, 24)] + [dice.randint(-(10**30), 10**30)]
    (work / "t.jsonl").write_text("".join(f'{{"text": [{n}]}}\n' for n in numbers))

    run(
        "create_batch_file.py", "t.jsonl", "--prompt", "{{ text }}", "--model", "m",
        "--output", "requests.jsonl",
    )  # fmt: skip

    assert written(work) == built_by_package(work / "t.jsonl", prompt="{{ text }}")


@pytest.mark.parametrize("limits", [("3", "200000000"), ("50000", "500")])
def test_splits_where_the_package_splits(run, work, built_by_package, limits):
    (work / "t.csv").write_text("text\n" + "".join(f"row {'x' * n}\n" for n in range(10)))

    done = run(
        "create_batch_file.py", "t.csv", "--prompt", "{{ text }}", "--model", "m", "--output",
        "requests.jsonl", "--max-requests", limits[0], "--max-file-bytes", limits[1],
    )  # fmt: skip

    changes = {"max_requests": int(limits[0]), "max_file_bytes": int(limits[1])}
    parts = built_by_package(work / "t.csv", prompt="{{ text }}", profile_changes=changes)
    assert len(parts) > 2
    assert written(work) == parts
    assert [line for line in done.out.splitlines() if line.startswith("wrote")] == [
        "wrote requests.jsonl",
        *(f"wrote requests-{number:04}.jsonl" for number in range(2, len(parts) + 1)),
    ]


def test_fills_in_what_an_edited_list_of_requests_lacks(run, work):
    entries = [
        {"messages": [{"role": "user", "content": "one"}]},
        {"custom_id": "mine", "body": {"model": "own", "messages": []}},
        {"custom_id": "e", "url": "/v1/embeddings", "body": {"input": "x"}},
    ]
    (work / "edited.json").write_text(json.dumps(entries))

    done = run(
        "create_batch_file.py", "--requests", "edited.json", "--model", "m", "--param",
        "max_tokens=9", "--output", "requests.jsonl",
    )  # fmt: skip

    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (work / "requests.jsonl").read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == ["r1", "mine", "e"]
    assert [line["url"] for line in lines] == [CHAT, CHAT, "/v1/embeddings"]
    assert [line["body"]["model"] for line in lines] == ["m", "own", "m"]
    assert {line["body"]["max_tokens"] for line in lines} == {9}


BAD = {
    "no such file": ({}, ["t.csv"], "There is no file «t.csv»"),
    "empty": ({"t.csv": b""}, ["t.csv"], "is empty"),
    "no rows": ({"t.csv": b"text\n"}, ["t.csv"], "has a header and no rows"),
    "not UTF-8": ({"t.csv": b"text\nok\n\xff\xe9\n"}, ["t.csv"], "is not UTF-8 on line 3"),
    "UTF-16": ({"t.csv": "text\na\n".encode("utf-16")}, ["t.csv"], "is UTF-16"),
    "a workbook": ({"t.csv": b"PK\x03\x04"}, ["t.csv"], "is an Excel workbook"),
    "ragged": ({"t.csv": b"text,b\na,b\nc\n"}, ["t.csv"], "has 1 fields on line 3, and 2"),
    "two columns": ({"t.csv": b"text,text\na,b\n"}, ["t.csv"], "has two columns «text»"),
    "open quote": ({"t.csv": b'text\na\n"b\n'}, ["t.csv"], "cannot be read from line 3 on"),
    "after a quote": ({"t.csv": b'text\n"b"c\n'}, ["t.csv"], "cannot be read from line 2 on"),
    "not JSON": ({"t.jsonl": b'{"text": 1}\n{"text"\n'}, ["t.jsonl"], "is not JSON on line 2"),
    "NaN": ({"t.jsonl": b'{"text": NaN}\n'}, ["t.jsonl"], "it holds NaN"),
    "half a pair": ({"t.jsonl": b'{"text": "\\ud800"}\n'}, ["t.jsonl"], "is not JSON on line 1"),
    "no object": ({"t.jsonl": b'{"text": 1}\n[1]\n'}, ["t.jsonl"], "Line 2 is not an object"),
    "lacking": ({"t.jsonl": b'{"text": 1}\n{"b": 1}\n'}, ["t.jsonl"], "Row 2 has no «text»"),
    "kind": ({"t.xml": b"<a/>"}, ["t.xml"], "has the suffix «.xml»"),
}


@pytest.mark.parametrize("case", BAD)
def test_says_in_one_line_what_is_wrong_with_a_table(run, work, case):
    files, arguments, words = BAD[case]
    for name, content in files.items():
        (work / name).write_bytes(content)

    done = run(
        "create_batch_file.py",
        *arguments,
        "--prompt",
        "{{ text }}",
        "--model",
        "m",
        "-o",
        "q.jsonl",
    )

    assert done.code == 3
    assert done.err.startswith("error: ")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in work.iterdir()) == sorted(files)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prompt", "{{ txt }}"], "Did you mean «text»?"),
        (["--prompt", "{{ text|upper }}"], "is not a column"),
        (["--prompt", "{% if text %}x{% endif %}"], "is not a column"),
        (["--prompt", "{{ text"], "is not a column"),
        (["--prompt", " "], "The prompt is empty"),
        (["--prompt", "x", "--id-column", "nope"], "--id-column names the column «nope»"),
        (["--prompt", "x", "--param", "stream=true"], "cannot stream"),
        (["--prompt", "x", "--param", "messages=[]"], "would overwrite «messages»"),
        (["--prompt", "x", "--param", "top_p=NaN"], "NaN and Infinity are not JSON"),
        (["--prompt", "x", "--schema", "{"], "--schema is not JSON"),
        (["--prompt", "x", "--schema", "nowhere.json"], "cannot be read"),
        (["--prompt", "@nowhere.txt"], "cannot be read"),
        (["--prompt", "x", "--output", "t.csv"], "is one of the files that are read"),
    ],
)
def test_refuses_options_that_no_row_could_make_right(run, work, options, words):
    (work / "t.csv").write_text("text\na\n")

    done = run("create_batch_file.py", "t.csv", "--model", "m", "-o", "q.jsonl", *options)

    assert done.code == 3
    assert words in done.err
    assert [path.name for path in work.iterdir()] == ["t.csv"]


def test_leaves_a_row_out_that_is_too_large_and_says_so(run, work, built_by_package):
    (work / "t.csv").write_text(f"text\n{'x' * 11_000_000}\nb\n")

    done = run(
        "create_batch_file.py", "t.csv", "--prompt", "{{ text }}", "--model", "m",
        "--output", "requests.jsonl",
    )  # fmt: skip

    assert done.code == 8
    assert "row 1 is left out" in done.err
    assert written(work) == built_by_package(work / "t.csv", prompt="{{ text }}")


def test_a_later_part_of_an_earlier_build_is_not_left_to_be_run_by_mistake(run, work):
    (work / "t.csv").write_text("text\na\n")
    (work / "requests-0002.jsonl").write_text("old\n")

    done = run(
        "create_batch_file.py", "t.csv", "--prompt", "{{ text }}", "--model", "m",
        "--output", "requests.jsonl", "--overwrite",
    )  # fmt: skip

    assert done.code == 3
    assert "left from an earlier build" in done.err
    assert not (work / "requests.jsonl").exists()


tables = script_module("tables")


@pytest.mark.parametrize(
    "content",
    [
        "id;price, EUR\n1;2,50\n2;3,75\n",
        "first, last;x\nA, B;1\n",
        "id|text;more\n1|a\n2|b\n",
        "id,text;x\n1,a;b\n2,c\n",
        '"sep=;"\r\na,b;c\r\n1;2\r\n',
        "sep=\t\na\tb\n1\t2\n",
        "# made by a tool, 2026\nid,text,n\n1,a,2\n",
        "##version=1\n#CHROM\tPOS\nchr1\t5\n",
        "# one\n\n# two\n\na;b\n1;3\n",
        "#,name\n1,x\n",
        "id,text\r\r\n1,a\r\r\n",
        "\ufeffid,text\r\n1,a\r\n",
        'a,"b\nc"\n1,"x, y"\n',
    ],
)
def test_the_scripts_cut_a_csv_as_the_package_does(tmp_path, content):
    path = tmp_path.resolve() / "t.csv"
    path.write_bytes(content.encode())
    ours = open_source(str(path), Roots([path.parent]))
    theirs = tables.open_table(path)
    assert theirs.columns == ours.columns
    assert list(theirs.rows()) == list(ours.rows())
