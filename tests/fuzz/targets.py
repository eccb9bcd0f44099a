"""What is fed, with what, and what must hold whatever comes.

A target is a context manager: given a scratch folder, a strategy of inputs and a check. The check
raises for a finding: anything but the errors that the fed function documents, and every broken
promise that it states as an assertion.
"""

from fuzz import handed_over, replies, servers, tables, texts

TARGETS = tables.TARGETS | texts.TARGETS | replies.TARGETS | servers.TARGETS | handed_over.TARGETS
