"""Two processes that do the same whole job at the same time do it once, and neither fails."""

import threading

import pytest

from crash.conftest import Runner

WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def second():
    running = Runner()
    yield running
    running.close()


@pytest.mark.parametrize("turn", range(3))
def test_two_processes_on_one_job_do_it_once(turn, new_case, second, ends_like):
    case = new_case(f"together-{turn}")
    statuses = []
    beside = threading.Thread(target=lambda: statuses.append(case.run(runner=second)))
    beside.start()
    statuses.append(case.run())
    beside.join(WAIT_SECONDS)
    assert statuses == [0, 0]
    ends_like(case)
