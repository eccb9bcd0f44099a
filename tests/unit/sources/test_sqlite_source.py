"""SQLite databases: which rows are meant, and that reading one can do nothing but read."""

import sqlite3
from contextlib import closing

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.sources import open_source, sqlite

ORDERS = 'CREATE TABLE orders (id INTEGER, "the text" TEXT, price REAL, pic BLOB)'


@pytest.fixture
def database(tmp_path):
    """Make `shop.db` by statements."""

    def make(*statements):
        with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
            for statement in (ORDERS, *statements):
                db.execute(statement)
            db.commit()
        return tmp_path / "shop.db"

    return make


ROW = "INSERT INTO orders VALUES (1, 'é', 1.5, x'00ff')"


def test_the_only_table_is_the_source(database, roots):
    database(ROW, "INSERT INTO orders VALUES (2, NULL, 9e999, NULL)")
    table = open_source("shop.db", roots)
    assert (table.kind, table.columns) == ("sqlite", ("id", "the text", "price", "pic"))
    assert list(table.rows()) == [
        {"id": 1, "the text": "é", "price": 1.5, "pic": b"\x00\xff"},
        {"id": 2, "the text": None, "price": None, "pic": None},
    ]


@pytest.mark.parametrize(
    "location",
    [
        "shop.db::orders",
        "sqlite:shop.db?table=orders",
        "shop.db::SELECT * FROM orders",
        'shop.db:: with t as (select * from orders) select id, price, "the text", pic from t',
        "shop.db::select o.* from orders o join other on other.x = o.id",
    ],
)
def test_a_table_or_a_query_can_be_named(database, roots, location):
    database(ROW, "CREATE TABLE other (x)", "INSERT INTO other VALUES (1)")
    assert [row["id"] for row in open_source(location, roots).rows()] == [1]


def test_of_several_tables_one_has_to_be_named(database, roots):
    database(ROW, "CREATE VIEW v AS SELECT * FROM orders")
    for location in ("shop.db", "shop.db::nothing", "sqlite:shop.db?table=sqlite_master"):
        with pytest.raises(InputError, match="«orders», «v»") as refused:
            open_source(location, roots)
        assert refused.value.code == "which_table"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nothing FROM orders",
        "SELECT 1; DROP TABLE orders",
        "WITH t AS (SELECT 1) DELETE FROM orders",
        "SELECT load_extension('x')",
        "SELECT file FROM pragma_database_list",
        "SELECT",
    ],
)
def test_a_query_that_does_not_read_is_refused(database, roots, query):
    path = database(ROW)
    before = path.read_bytes()
    with pytest.raises(InputError) as refused:
        open_source(f"shop.db::{query}", roots)
    assert refused.value.code == "invalid_query"
    assert path.read_bytes() == before


def test_a_query_that_never_gives_a_row_ends(database, roots, monkeypatch):
    monkeypatch.setattr(sqlite, "_SECONDS_A_ROW", 0.2)
    database(ROW)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n "
    with pytest.raises(InputError, match="took longer") as refused:
        open_source(f"shop.db::{endless} WHERE i < 0", roots)
    assert refused.value.code == "invalid_query"


def test_what_lies_in_the_log_of_a_database_in_use_is_read(database, roots, tmp_path):
    with closing(sqlite3.connect(database(ROW))) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("INSERT INTO orders VALUES (2, 'b', 1, NULL)")
        other.commit()
        table = open_source("shop.db", roots)
        assert len(list(table.rows())) == 2
    before = sorted(tmp_path.iterdir())
    assert len(list(open_source("shop.db", roots).rows())) == 2
    assert sorted(tmp_path.iterdir()) == before == [tmp_path / "shop.db"]


def test_a_database_whose_last_write_was_cut_off_says_so_and_stays_as_it_is(
    database, roots, tmp_path
):
    shop = database(*["INSERT INTO orders VALUES (1, hex(zeroblob(2000)), 1, NULL)"] * 100)
    with closing(sqlite3.connect(shop, isolation_level=None)) as other:
        other.execute("PRAGMA cache_size = 5")  # so that pages go to the disk before the end
        other.execute("BEGIN")
        other.execute("UPDATE orders SET id = 2")
        copies = {
            f"cut.db{end}": (tmp_path / f"shop.db{end}").read_bytes() for end in ("", "-journal")
        }
    for name, content in copies.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="never finished") as refused:
        open_source("cut.db", roots)
    assert refused.value.code == "damaged_file"
    assert {name: (tmp_path / name).read_bytes() for name in copies} == copies


def test_the_fingerprint_is_that_of_the_rows(database, roots, tmp_path):
    def fingerprint(*statements):
        (tmp_path / "shop.db").unlink(missing_ok=True)
        database(ROW, *statements)
        return open_source("shop.db::orders", roots).fingerprint()

    assert fingerprint() == fingerprint("CREATE TABLE other (x)")
    assert fingerprint() != fingerprint("UPDATE orders SET price = 2")


@pytest.mark.parametrize(
    ("statements", "code"),
    [
        ([], "no_rows"),
        (["INSERT INTO orders VALUES (1, CAST(x'ff' AS TEXT), 1, NULL)"], "not_utf8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(database, roots, statements, code):
    database(*statements)
    with pytest.raises(InputError) as refused:
        open_source("shop.db", roots)
    assert refused.value.code == code


def test_a_database_without_a_table_says_so(database, roots):
    database("DROP TABLE orders")
    with pytest.raises(InputError, match="holds no tables") as refused:
        open_source("shop.db", roots)
    assert refused.value.code == "no_rows"


def test_a_damaged_database_is_refused(database, roots):
    path = database(*[ROW] * 2000)
    data = path.read_bytes()
    path.write_bytes(data[:5000] + b"\xff" * 9000 + data[14000:])
    with pytest.raises(InputError) as refused:
        list(open_source("shop.db", roots).rows())
    assert refused.value.code == "damaged_file"


@pytest.mark.posix("names with colons")
def test_two_colons_in_the_name_of_a_file_are_its_name(source, roots):
    assert source("a::b.csv", "a\n1\n").columns == ("a",)


def test_selections_are_for_sheets_and_tables_only(source, roots):
    source("t.csv", "a\n1\n")
    for location, message in {
        "t.csv::a": "neither sheets nor tables",
        "sqlite:t.csv?mode=rw": "one option, table",
    }.items():
        with pytest.raises(InputError, match=message) as refused:
            open_source(location, roots)
        assert refused.value.code == "invalid_argument"
