"""The definitions that agents see change only together with their stored snapshots."""

from tools.snapshots import RENEW, current, stored


async def test_every_definition_is_stored_as_it_is_and_nothing_else_is(settings):
    now, before = await current(settings), stored()
    wrong = {
        "missing": sorted(now.keys() - before.keys()),
        "orphaned": sorted(before.keys() - now.keys()),
        "changed": sorted(name for name in now.keys() & before.keys() if now[name] != before[name]),
    }
    assert not any(wrong.values()), f"{wrong}; if the change is meant, run: {RENEW}"
