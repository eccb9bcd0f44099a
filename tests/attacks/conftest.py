"""The folders and servers of the tools' tests: an attack comes through the same doors."""

from batch_openai.conftest import commanded
from tools.conftest import environment, faulty, home, reviews, settings, work
from wire.conftest import connect, fake_time

__all__ = [
    "commanded",
    "connect",
    "environment",
    "fake_time",
    "faulty",
    "home",
    "reviews",
    "settings",
    "work",
]
