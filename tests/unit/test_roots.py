"""Only what lies inside the roots is read or written, whatever the path looks like."""

import os
from pathlib import Path

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.path_text import is_network_path
from doubleword_batch.paths import Roots


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a", encoding="utf-8")
    (folder / "sub" / "b.txt").write_text("b", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("key", encoding="utf-8")
    (tmp_path / "inside-too").mkdir()
    (tmp_path / "inside-too" / "c.txt").write_text("c", encoding="utf-8")
    return folder


def test_relative_paths_start_at_the_first_root(inside):
    roots = Roots([inside])
    assert roots.readable("a.txt") == (inside / "a.txt").resolve()
    assert roots.readable("sub/../a.txt") == (inside / "a.txt").resolve()
    assert roots.readable(str(inside / "sub" / "b.txt")).read_text(encoding="utf-8") == "b"


@pytest.mark.parametrize(
    "path",
    ["..", "../secret.txt", "sub/../../secret.txt", "/etc/passwd", "~/x", "../inside-too/c.txt"],
)
def test_what_lies_outside_is_refused_for_reading_and_writing(inside, path):
    roots = Roots([inside])
    for use in (roots.readable, roots.matches, roots.writable):
        with pytest.raises(InputError) as refused:
            use(path)
        assert refused.value.code == "outside_roots"
        assert "DOUBLEWORD_BATCH_ROOTS" in refused.value.hint


@pytest.mark.posix("links")
def test_a_link_cannot_lead_out(inside, tmp_path):
    (inside / "file").symlink_to(tmp_path / "secret.txt")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "new").symlink_to(tmp_path / "not-there-yet.txt")
    roots = Roots([inside])
    for path in ("file", "folder/secret.txt", "folder"):
        with pytest.raises(InputError, match="outside"):
            roots.readable(path)
    for path in ("new", "folder/x.txt", "file"):
        with pytest.raises(InputError, match="outside"):
            roots.writable(path, overwrite=True)


@pytest.mark.posix("links")
def test_a_link_inside_is_followed_and_a_loop_refused(inside):
    (inside / "link.txt").symlink_to(inside / "a.txt")
    (inside / "loop").symlink_to(inside / "loop")
    roots = Roots([inside])
    assert roots.readable("link.txt") == (inside / "a.txt").resolve()
    with pytest.raises(InputError):
        roots.readable("loop")


@pytest.mark.posix("links")
def test_a_root_may_itself_be_a_link(inside, tmp_path):
    (tmp_path / "alias").symlink_to(inside)
    assert Roots([tmp_path / "alias"]).readable("a.txt") == (inside / "a.txt").resolve()


def test_a_missing_file_is_reported_as_missing(inside):
    with pytest.raises(InputError, match=r"nothing\.csv") as refused:
        Roots([inside]).readable("nothing.csv")
    assert refused.value.code == "file_not_found"


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_an_impossible_path_is_refused(inside, path):
    with pytest.raises(InputError):
        Roots([inside]).readable(path)


def test_a_glob_gives_files_in_order_and_no_folders(inside):
    roots = Roots([inside])
    assert [p.name for p in roots.matches("**/*.txt")] == ["a.txt", "b.txt"]
    assert [p.name for p in roots.matches("*")] == ["a.txt"]
    with pytest.raises(InputError, match=r"No file matches \*\.csv"):
        roots.matches("*.csv")


@pytest.mark.parametrize("pattern", ["../*.txt", "/etc/pass*", "../inside*/*.txt"])
def test_a_glob_cannot_lead_out(inside, pattern):
    with pytest.raises(InputError) as refused:
        Roots([inside]).matches(pattern)
    assert refused.value.code == "outside_roots"


@pytest.mark.posix("links")
def test_a_glob_that_meets_a_link_outwards_is_refused_not_cut(inside, tmp_path):
    (inside / "z.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InputError, match="outside"):
        Roots([inside]).matches("*.txt")


def test_a_name_with_brackets_that_exists_is_not_a_glob(inside):
    (inside / "a[1].txt").write_text("x", encoding="utf-8")
    assert [p.name for p in Roots([inside]).matches("a[1].txt")] == ["a[1].txt"]


def test_nothing_is_overwritten_unless_asked(inside):
    roots = Roots([inside])
    with pytest.raises(InputError) as refused:
        roots.writable("a.txt")
    assert refused.value.code == "output_exists"
    assert roots.writable("a.txt", overwrite=True).name == "a.txt"
    assert roots.writable("sub/new.csv") == (inside / "sub" / "new.csv").resolve()


def test_a_folder_is_not_an_output_and_a_missing_one_is_named(inside):
    roots = Roots([inside])
    with pytest.raises(InputError) as refused:
        roots.writable("sub", overwrite=True)
    assert refused.value.code == "output_exists"
    with pytest.raises(InputError) as refused:
        roots.writable("no/such/x.csv")
    assert refused.value.code == "file_not_found"


@pytest.mark.posix("pipes with names")
def test_a_pipe_is_never_replaced_by_a_table(inside):
    os.mkfifo(inside / "pipe.csv")
    with pytest.raises(InputError, match="not a regular file") as refused:
        Roots([inside]).writable("pipe.csv", overwrite=True)
    assert refused.value.code == "output_exists"


def test_several_roots_are_allowed_and_one_of_our_own_folders_beside_them(inside, tmp_path):
    roots = Roots([inside, tmp_path / "inside-too"])
    assert roots.readable("../inside-too/c.txt").name == "c.txt"
    ours = Roots([inside]).with_folder(tmp_path / "inside-too")
    assert ours.readable(tmp_path / "inside-too" / "c.txt").name == "c.txt"
    with pytest.raises(InputError) as refused:
        ours.readable(tmp_path / "secret.txt")
    assert refused.value.code == "outside_roots"


def test_no_roots_at_all_refuse_every_path(inside):
    with pytest.raises(InputError) as refused:
        Roots([]).readable(inside / "a.txt")
    assert "DOUBLEWORD_BATCH_ROOTS" in refused.value.hint


@pytest.mark.parametrize("pattern", ["../s*", "../../*", "{outside}/s*", "**/../../s*", "~/*"])
def test_a_pattern_that_leaves_the_roots_is_refused_before_anything_is_looked_at(
    inside, tmp_path, pattern
):
    with pytest.raises(InputError) as refused:
        Roots([inside]).matches(pattern.format(outside=tmp_path))
    assert refused.value.code == "outside_roots"
    assert "secret" not in str(refused.value)


def test_without_roots_every_path_is_allowed(inside, tmp_path):
    assert Roots(None).readable(tmp_path / "secret.txt").name == "secret.txt"


ON_A_NETWORK = (
    "\\\\?\\" if os.name == "nt" else "/"
)  # before a plain path: it begins like a share's


def test_a_root_on_a_network_is_used_by_its_whole_name_and_by_wildcards(inside):
    share = f"{ON_A_NETWORK}{inside}"
    roots = Roots([Path(share)], is_for_agent=True)
    a_file = inside / "a.txt"
    for pattern in ("*.txt", str(Path(share) / "*.txt"), str(Path(share) / "a.txt")):
        (found,) = roots.matches(pattern)
        assert found.samefile(a_file)
    table = roots.writable(str(Path(share) / "o.csv"))
    assert roots.writable_lock(table.with_name("o.csv.lock.json")).parent.samefile(inside)
    for other in (f"{share}-too/c.txt", f"{share}/../secret.txt", f"{share}/.env", "//evil/x.csv"):
        for use in (roots.readable, roots.matches, roots.writable):
            with pytest.raises(InputError) as refused:
                use(other)
            assert refused.value.code == "outside_roots", other


def test_a_drive_that_stands_for_a_share_is_used_by_the_names_that_the_share_gives(
    inside, monkeypatch
):
    resolve = Path.resolve

    def to_the_share(path):  # as Windows does with what lies on a mapped drive
        text = str(resolve(path))
        return Path(text if is_network_path(text) else f"{ON_A_NETWORK}{text}")

    monkeypatch.setattr(Path, "resolve", to_the_share)
    roots = Roots([inside], is_for_agent=True)
    found = roots.readable("a.txt")
    assert str(found).startswith(ON_A_NETWORK)
    assert roots.readable(str(found)) == found
    assert roots.matches("*.txt") == [found]
    table = roots.writable("o.csv")
    assert roots.writable(str(table)) == table
    assert roots.writable_lock(table.with_name("o.csv.lock.json")).parent == table.parent
