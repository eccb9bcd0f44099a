"""The threat model names every file of attacks, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs" / "threat-model.md"


def test_every_file_of_attacks_stands_in_the_threat_model_and_no_other():
    named = set(re.findall(r"tests/attacks/(test_\w+\.py)", MODEL.read_text(encoding="utf-8")))
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert named == files - {Path(__file__).name}
