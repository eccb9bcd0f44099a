"""The scripts read a CSV as the package does, or refuse it."""

import pytest

from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source
from skill.in_process import script_module

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
