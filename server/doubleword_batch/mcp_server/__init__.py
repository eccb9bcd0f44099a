"""The MCP server: eight tools over the journey of a job."""

from doubleword_batch.mcp_server.server import build_server

__all__ = ["build_server"]
