"""Two processes that do the same whole job at the same time do it once, and neither fails."""

from concurrent.futures import ThreadPoolExecutor

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
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(case.run, runner=second)
        statuses = [case.run(), beside.result(WAIT_SECONDS)]
    assert statuses == [0, 0]
    ends_like(case)
