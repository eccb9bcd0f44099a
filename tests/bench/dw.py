"""The peer `dw`, Doubleword's own command line, where it is there."""

import shutil
import subprocess
from pathlib import Path

CREDENTIALS = '[accounts.bench]\ninference_key = "k"\nplatform_key = "k"\n'


class Dw:
    """Its commands, with a home of its own, in which an account is set up.

    Attributes:
        version: what it says of itself.
    """

    def __init__(self, program, home):
        self._program = program
        self._home = home
        (home / ".dw").mkdir(parents=True)
        (home / ".dw" / "config.toml").write_text('active_account = "bench"\n')
        (home / ".dw" / "credentials.toml").write_text(CREDENTIALS)
        self.version = subprocess.check_output([program, "--version"], text=True).strip()

    def validate(self, folder):
        return self._command("files", "validate", folder / "requests.jsonl")

    def upload(self, folder, base_url):
        server = base_url.removesuffix("/v1")
        return self._command("--server", server, "files", "upload", folder / "requests.jsonl")

    def download(self, folder, base_url):
        server, target = base_url.removesuffix("/v1"), folder / "dw.jsonl"
        return self._command("--server", server, "files", "content", "file-1", "-o", target)

    def _command(self, *arguments):
        return ["env", f"HOME={self._home}", self._program, *arguments]


def find_dw(path, home):
    """The program at `path`, or on PATH; None where there is none."""
    program = path or shutil.which("dw")
    return Dw(Path(program).resolve(), home) if program else None
