"""CI and releases run what is pinned, with the rights that each job needs, and with no token."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE = ROOT / ".github" / "workflows" / "release.yml"


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request):
    return request.param.read_text(encoding="utf-8")


def test_every_action_is_pinned_to_a_commit_and_says_which_version_that_is(workflow):
    used = re.findall(r"uses: (.*)", workflow)

    assert used
    assert [
        action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action)
    ] == []


def test_no_right_is_given_to_all_jobs_and_every_other_one_has_its_reason(workflow):
    assert "\npermissions: {}\n" in workflow
    rights = re.findall(
        r"^ +(?:contents|id-token|attestations|packages|actions): [rw].*", workflow, re.MULTILINE
    )
    assert rights
    assert [right for right in rights if not re.search(r": (read|write) # \w+", right)] == []


def test_no_workflow_knows_a_secret_or_runs_what_a_stranger_wrote(workflow):
    assert "secrets." not in workflow
    assert "pull_request_target" not in workflow
    assert not re.search(r"run:.*\$\{\{", workflow)


def test_only_the_jobs_that_sign_and_publish_have_an_identity():
    _, text = RELEASE.read_text(encoding="utf-8").split("\njobs:\n")
    jobs = re.split(r"^  (?=\w+:\n)", text, flags=re.MULTILINE)
    with_identity = [job.split(":")[0] for job in jobs if "id-token: write" in job]

    assert with_identity == ["attest", "publish"]
    for job in jobs:
        if "id-token: write" in job:
            assert "checkout" not in job  # nothing of the repository runs where a release is signed


def test_the_release_is_built_by_the_command_that_the_page_names():
    page = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
    command = ".ci/release.py dist --twice"

    assert command in page
    assert command in RELEASE.read_text(encoding="utf-8")
    assert "not registered" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
