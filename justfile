# What a developer types. `just` lists it; without an installed just: `uv run just`.

uv := env("UV", if path_exists(justfile_directory() / ".uv/bin/uv") == "true" { justfile_directory() / ".uv/bin/uv" } else { "uv" })
export NO_MKDOCS_2_WARNING := "1"
set windows-shell := ["powershell.exe", "-NoLogo", "-Command"]
run := uv + " run --locked --all-extras --all-groups"

# List the recipes.
@default:
    just --list --unsorted

# A one-minute check of a change.
quick *options:
    {{ run }} pytest -n auto {{ options }} {{ quick }} {{ prepend("--ignore=", not_quick) }}

# What `just quick` runs: the tests that start few servers, and one whole job through the MCP tools.
quick := "tests/unit tests/docs tests/manifests tests/tools/test_definitions.py tests/tools/test_job_flow.py"

# What takes longest in these folders, and is left to `just test`: real processes, damaged inputs, drawn inputs, the site.
not_quick := "tests/unit/test_processes.py tests/unit/jobs/test_answers.py tests/unit/jobs/test_any_lines.py tests/unit/jobs/test_cascade_statistics.py tests/unit/jobs/test_query.py tests/unit/sources/test_corpus.py tests/unit/sources/test_documents.py tests/unit/sources/test_other_workbooks.py tests/unit/sources/test_parquet_source.py tests/unit/sources/test_properties.py tests/unit/sources/test_workbook_properties.py tests/docs/test_benchmarks.py tests/docs/test_readme.py tests/docs/test_site.py"

# All tests in parallel, or those that are named: `just test tests/wire`.
test *options:
    {{ run }} pytest -n auto --dist loadfile {{ options }}

# Formatting, lint, types, the direction of imports, declared dependencies.
check:
    {{ run }} ruff check
    {{ run }} ruff format --check
    {{ run }} pyright
    {{ run }} pyright --project tests/bench
    {{ run }} lint-imports
    {{ run }} deptry server

# Feed readers and servers damaged inputs: `just fuzz --seconds 3600`, or `--again NUMBER TARGET`.
fuzz *options:
    cd tests && {{ run }} python -m fuzz.child --folder "$(mktemp -d)" {{ options }}

# Every file of the corpus, through sources, prompts and tables: `just corpus xlsx` for some of them.
corpus *options:
    cd tests && {{ run }} python -m corpus.check {{ options }}

# The pictures of the console in the docs, made anew.
pictures:
    cd tests && {{ run }} python -m console.pictures

# Repair what ruff can repair.
fix:
    {{ run }} ruff check --fix
    {{ run }} ruff format

# The site, built as CI builds it: a warning is an error.
docs:
    {{ run }} mkdocs build --strict

# The site, served on this machine and built anew at every change.
docs-serve:
    {{ run }} mkdocs serve

# On a CPython for Windows, under Wine: what CI runs, `all`, or any words for pytest.
windows *options:
    bash .ci/windows {{ uv }} {{ options }}

# On the other Pythons: what CI runs, or `just pythons 3.14 tests` and any words for pytest.
pythons *options:
    bash .ci/pythons {{ uv }} {{ options }}

# Everything that must hold before a change lands.
ci:
    bash .ci/run
