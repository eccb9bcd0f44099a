"""Where the skill lies."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SKILL = ROOT / "skill" / "doubleword-batch"
SCRIPTS = SKILL / "scripts"
REFERENCES = sorted((SKILL / "references").glob("*.md"))
DOCUMENTS = [SKILL / "SKILL.md", *REFERENCES]
