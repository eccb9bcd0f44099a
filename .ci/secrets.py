"""Look for keys in every file and in everything that any commit added or removed.

    python .ci/secrets.py

Known are the forms that providers give their keys, private keys, passwords in addresses, and long
values of names such as `api_key`. What is meant to be there stands in `secrets-allowed.txt`.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALLOWED = Path(__file__).with_name("secrets-allowed.txt")
HASHES = ":(exclude)uv.lock"  # nothing but hashes
FORMS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(?:sk|pk|rk)[-_](?:live_|test_|ant-|proj-|or-v1-|svcacct-)?[A-Za-z0-9_-]{20,}"
    rb"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}"
    rb"|\bgh[oprsu]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[A-Za-z0-9_-]{20}"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bnpm_[A-Za-z0-9]{36}|\bpypi-AgE[A-Za-z0-9_-]{20,}"
    rb"|\bhf_[A-Za-z0-9]{30,}|\bgsk_[A-Za-z0-9]{30,}|\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}"
    rb"|\b[a-z][a-z0-9+]{1,9}://[^\s/:@'\"{}<>$]{1,80}:[^\s/:@'\"{}<>$]{3,80}@"
    rb"|(?i:(?:api_?key|secret|token|password|passwd)[\"']?\s*[:=]\s*[\"'])"
    rb"(?=[A-Za-z0-9+/_=-]*[0-9])(?=[A-Za-z0-9+/_=-]*[A-Za-z])[A-Za-z0-9+/_=-]{24,}(?=[\"'])"
)


def main() -> int:
    """1 where something was found that nobody has explained."""
    allowed = tuple(
        line.split("#")[0].strip().encode()
        for line in ALLOWED.read_text(encoding="utf-8").splitlines()
        if line.split("#")[0].strip()
    )
    found: dict[bytes, str] = {}
    for where, line in (*lines_of_the_tree(), *lines_of_the_history()):
        for match in FORMS.finditer(line):
            if not any(word in match[0] for word in allowed):
                found.setdefault(match[0], where)
    for secret, where in found.items():
        shown = secret[:12].decode("ascii", "replace")
        print(f"{where}: {shown}... ({len(secret)} characters)", file=sys.stderr)
    if found:
        print(
            "If one of them is a key: revoke it first, then take it out. If it is none: say why in "
            f"{ALLOWED.relative_to(ROOT)}.",
            file=sys.stderr,
        )
    return 1 if found else 0


def lines_of_the_tree() -> Iterator[tuple[str, bytes]]:
    """Every line of the files that no commit holds as they are."""
    changed = git("diff", "--name-only", "-z", "HEAD").split(b"\0")
    new = git("ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
    for name in filter(None, (*changed, *new)):
        path = ROOT / name.decode()
        if path.is_file():
            for line in path.read_bytes().splitlines():
                yield name.decode(), line


def lines_of_the_history() -> Iterator[tuple[str, bytes]]:
    """Every line that a commit added or took out; a merge is looked at too."""
    where = ""
    log = git("log", "--all", "-m", "-p", "-U0", "--no-color", "--format=%x00%h", "--", ".", HASHES)
    for line in log.splitlines():
        if line.startswith(b"\0"):
            where = "commit " + line[1:].decode()
        elif line.startswith(b"+++ b/"):
            where = f"{where.split(': ')[0]}: {line[6:].decode()}"
        elif line[:1] in b"+-" and line[:3] not in {b"+++", b"---"}:
            yield where, line


def git(*words: str) -> bytes:
    """What git says."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main())
