"""Images: what becomes one, where a row's path may lead, and how they stand in a request."""

import json
from base64 import b64encode
from pathlib import Path

import duckdb
import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.requests import RequestSpec, build_request_files
from doubleword_batch.sources import images, open_source

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 40
GIF = b"GIF89a" + b"\0" * 40
WEBP = b"RIFF\0\0\0\0WEBP" + b"\0" * 40


def uri(kind, data):
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


@pytest.fixture
def bodies(tmp_path, roots, doubleword):
    """Build and decode the bodies."""

    def make(location, roots=roots, **spec):
        defaults = {"endpoint": "/v1/chat/completions", "model": "m", "prompt": "What is it?"}
        built = build_request_files(
            open_source(location, roots), RequestSpec(**defaults | spec), doubleword, tmp_path / "o"
        )
        make.built = built
        return [
            json.loads(line)["body"]
            for file in built.files
            for line in file.path.read_text(encoding="utf-8").splitlines()
        ]

    return make


def seen(body):
    return body["messages"][-1]["content"][1]["image_url"]["url"]


def test_a_folder_of_images_becomes_vision_messages(tmp_path, bodies, roots):
    folder = tmp_path / "pics"
    (folder / "sub").mkdir(parents=True)
    for name, data in {"b.png": PNG, "a.JPG": JPEG, "sub/c.webp": WEBP, "d.gif": GIF}.items():
        (folder / name).write_bytes(data)
    table = open_source("pics", roots)
    assert (table.kind, table.columns) == ("images", ("path", "name", "image"))
    made = bodies("pics", prompt="What is {{ name }}?")
    assert [seen(body) for body in made] == [
        uri("jpeg", JPEG),
        uri("png", PNG),
        uri("gif", GIF),
        uri("webp", WEBP),
    ]
    assert made[0]["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is a.JPG?"},
                {"type": "image_url", "image_url": {"url": uri("jpeg", JPEG)}},
            ],
        }
    ]


def test_the_responses_endpoint_gets_input_parts(tmp_path, bodies):
    (tmp_path / "a.png").write_bytes(PNG)
    (body,) = bodies("a.png", endpoint="/v1/responses")
    assert body["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": uri("png", PNG)},
            ],
        }
    ]


def test_the_same_prompt_for_every_image_is_not_warned_about(tmp_path, bodies):
    (tmp_path / "a.png").write_bytes(PNG)
    bodies("*.png")
    assert bodies.built.warnings == ()


def test_an_image_counts_as_a_thousand_tokens_whatever_its_bytes(tmp_path, bodies):
    (tmp_path / "a.png").write_bytes(PNG + b"\0" * 1_000_000)
    bodies("a.png")
    assert 1_000 < bodies.built.input_tokens < 1_100


def test_a_column_holds_paths_urls_or_data_uris(tmp_path, bodies):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(PNG)
    (tmp_path / "b.gif").write_bytes(GIF)
    values = ["a.png", "b.gif", "https://example.org/c.jpg?x=1", uri("png", PNG)]
    (tmp_path / "data" / "t.csv").write_text("pic\n" + "".join(f'"{v}"\n' for v in values))
    made = bodies("data/t.csv", image_column="pic")
    assert [seen(body) for body in made] == [uri("png", PNG), uri("gif", GIF), *values[2:]]


def test_bytes_in_a_table_are_images_too(tmp_path, bodies):
    with duckdb.connect() as duck:
        duck.execute("CREATE TABLE t AS SELECT ?::BLOB AS a, {'bytes': ?::BLOB} AS b", [PNG, GIF])
        duck.execute(f"COPY t TO '{tmp_path / 't.parquet'}'")
    assert seen(bodies("t.parquet", image_column="a")[0]) == uri("png", PNG)
    assert seen(bodies("t.parquet", image_column="b")[0]) == uri("gif", GIF)


@pytest.mark.posix("links")
@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        ("", "invalid_image", "has no image"),
        ("nothing.png", "file_not_found", "nothing.png"),
        ("note.txt", "invalid_image", "is not a PNG, JPEG, WebP or GIF image"),
        ("../secret.png", "outside_roots", "secret.png"),
        ("/etc/passwd", "outside_roots", "passwd"),
        ("link.png", "outside_roots", "link.png"),
        ("http://example.org/a.png", "invalid_image", "not an https URL"),
        ("file:///etc/passwd", "invalid_image", "not an https URL"),
        ("data:text/html;base64,AAAA", "invalid_image", "data: URI that is not an image"),
        ("data:image/png;base64,A A", "invalid_image", "data: URI that is not an image"),
    ],
)
@pytest.mark.parametrize("everything_allowed", [False, True])
def test_a_row_whose_image_cannot_be_used_is_named(
    tmp_path, bodies, monkeypatch, value, code, message, everything_allowed
):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    (tmp_path / "secret.png").write_bytes(PNG)
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "note.txt").write_text("text")
    (inside / "ok.png").write_bytes(PNG)
    (inside / "t.jsonl").write_text(f'{{"pic":"ok.png"}}\n{{"pic":{json.dumps(value)}}}\n')
    roots = Roots(None if everything_allowed else [inside])
    with pytest.raises(InputError, match=f"Row 2.*{message}") as refused:
        bodies("t.jsonl", roots, image_column="pic")
    assert refused.value.code == code
    assert not list((tmp_path / "o").iterdir())


def test_an_image_beyond_the_limits_is_skipped_and_reported(tmp_path, bodies, monkeypatch):
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 9_000_000)
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(PNG + b"\0" * 8_500_000)  # 4/3 of it are over the request's
    (tmp_path / "c.png").write_bytes(PNG + b"\0" * 9_500_000)
    assert len(bodies("*.png")) == 1
    assert [row.row for row in bodies.built.left_out] == [2, 3]
    assert "bytes" in bodies.built.left_out[0].message
    assert "MiB" in bodies.built.left_out[1].message


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"image_column": "nope"}, "unknown_column"),
        ({"endpoint": "/v1/embeddings", "prompt": "{{ name }}"}, "invalid_argument"),
    ],
)
def test_a_spec_that_does_not_fit_images_is_refused(tmp_path, bodies, spec, code):
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(InputError) as refused:
        bodies("a.png", **spec)
    assert refused.value.code == code


def test_a_file_that_only_claims_to_be_an_image_is_refused(tmp_path, roots):
    (tmp_path / "pics").mkdir()
    Path(tmp_path / "pics" / "a.png").write_text("<html>")
    with pytest.raises(InputError, match="whatever its name says") as refused:
        open_source("pics", roots)
    assert refused.value.code == "invalid_image"
