"""The folders and servers of the tools' tests: an attack comes through the same doors."""

from tools.conftest import environment, faulty, home, reviews, settings, work

__all__ = ["environment", "faulty", "home", "reviews", "settings", "work"]
