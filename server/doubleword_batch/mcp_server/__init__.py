"""The MCP server: eight tools that take a job from a table to its answers."""

from doubleword_batch.mcp_server.server import build_server

__all__ = ["build_server"]
