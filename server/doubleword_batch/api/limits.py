"""How much of a reply is read, and for how long."""

MAX_REPLY_BYTES = 32 * 1024 * 1024
"""The largest JSON reply: a page of 100 batches with full metadata is about 4 MB."""

MAX_ERROR_BYTES = 64 * 1024
"""What is read of an error body: its status says enough if the rest is cut or slow."""

ERROR_BODY_SECONDS = 5.0
"""How long an error body is waited for."""
