"""What the decisions say of the code's shape, held by counting."""

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import doubleword_batch

PACKAGE = Path(doubleword_batch.__file__).parent
ROOT = Path(__file__).parents[2]
SCHEMA = (PACKAGE / "jobs/store/schema.py").read_text(encoding="utf-8")
FILES = [p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts]


def files_that_say(pattern: str) -> set[str]:
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph("doubleword_batch", exclude_type_checking_imports=False)
    imported = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    TopologicalSorter(imported).prepare()  # raises CycleError with the circle


def test_only_two_files_change_the_ledger():
    changes = r"\b(UPDATE|INSERT INTO|INSERT OR \w+ INTO|DELETE FROM) (ledger|history)\b"
    assert files_that_say(changes) == {"jobs/store/apply_results.py", "jobs/store/ledger.py"}


def test_one_file_replaces_files():
    assert files_that_say(r"\bos\.replace\(|NamedTemporaryFile\(|temporary\.replace\(") == {
        "atomic_files.py"
    }


def test_the_tables_of_the_state_directory_are_named_in_its_store_only():
    tables = "|".join(
        sorted(set(re.findall(r"(?:CREATE TABLE (?:IF NOT EXISTS )?|RENAME TO )(\w+)", SCHEMA)))
    )
    named = files_that_say(rf"\b(FROM|JOIN|INTO|UPDATE) ({tables})\b")
    assert "jobs/store/ledger.py" in named
    assert {name for name in named if not name.startswith(("jobs/store/", "local/"))} == set()


def test_locks_own_addresses_and_own_hosts_are_each_told_in_one_file():
    assert files_that_say(r"\bfcntl\.flock\(|\bmsvcrt\.") == {"liveness.py"}
    assert files_that_say(r"\.is_loopback\b|class \w*Host\w*Guard|get(?:list)?\(.host.\)") == {
        "loopback.py"
    }


def test_a_public_name_is_that_of_one_class():
    named = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, times in named.items() if times > 1] == []


def test_sql_has_plain_or_named_parameters():
    """For `?1` Python 3.12.0 to 3.12.3 warns, wherever a sequence is bound."""
    assert files_that_say(r"[=<(, ]\?[1-9]\b(?! ms)") == set()


def test_sql_runs_on_the_sqlite_of_systems_that_are_kept_long():
    """3.34 is that of RHEL 9, for whose Python 3.11 and 3.12 this is."""
    newer = r"\bRETURNING\b|\bunixepoch\(|\bDROP COLUMN\b|\) STRICT\b|\bIS (NOT )?DISTINCT FROM\b"
    assert files_that_say(newer) == set()


def test_no_file_is_much_longer_than_four_hundred_lines():
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > 430} == {}


def test_variables_are_called_after_what_they_hold():
    empty = {"one", "ones", "some", "those", "these", "said"}
    words = "|".join(sorted(empty))
    worth_parsing = re.compile(rf"(?m)^[^\"'#\n]*\b({words})( :?= |, |: |\)| in )|def ({words})\(")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        for folder in ("server", "skill", "tests", ".ci")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if worth_parsing.search(source := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(source))
        if (name := bound_name(node)) in empty
    ]
    script = (PACKAGE / "console/static/console.js").read_text(encoding="utf-8")
    assert found == []
    assert not re.search(rf"\b(const|let|\() ?({words})\b", script)


def bound_name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return name
        case ast.Attribute(attr=name, ctx=ast.Store()):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
    return None


def test_nothing_waits_for_msgspecs_error_alone():
    """Bytes that are not UTF-8 and endless nesting raise others: `(ValueError, RecursionError)`."""
    alone = r"except \(?[^:\n]*msgspec\.(DecodeError|MsgspecError)"
    assert not files_that_say(alone)
