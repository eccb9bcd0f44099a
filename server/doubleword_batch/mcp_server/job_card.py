"""A job's card in the chat: a page for hosts that show MCP Apps; other hosts never see it.

The page contacts no other host and loads nothing: its policy allows only its own style and script.
It calls the same tools as the agent, through the host.
"""

import base64
import re
from hashlib import sha256
from importlib.resources import files
from typing import Any, cast

from mcp.server.apps import APP_MIME_TYPE, Apps, ResourceCsp, client_supports_apps
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

CARD_URI = "ui://doubleword-batch/job.html"
_TOOLS = frozenset({"get_status", "fetch_results"})
_BLOCK = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
_SECTIONS = {"tools/list": "tools", "resources/list": "resources"}


def job_card() -> Apps:
    """The extension that offers the page to hosts that ask for it."""
    apps = Apps()
    apps.add_html_resource(
        CARD_URI,
        page(),
        name="job",
        title="A batch job",
        csp=ResourceCsp(connect_domains=[], resource_domains=[]),
        prefers_border=True,
    )
    return apps


def page() -> str:
    """The page, with a policy that allows only its own style and script."""
    text = files("doubleword_batch.mcp_server").joinpath("job_card.html").read_text("utf-8")
    policy = ["default-src 'none'"]
    for kind, content in _BLOCK.findall(text):
        digest = base64.b64encode(sha256(content.encode()).digest()).decode()
        policy.append(f"{kind}-src 'sha256-{digest}'")
    return text.replace("POLICY", "; ".join([*policy, "base-uri 'none'; form-action 'none'"]), 1)


async def link_card(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: link the page from the tools for hosts that show it, and hide it from others."""
    result = await call_next(ctx)
    section = _SECTIONS.get(ctx.method)
    if section is None or not isinstance(result, dict):
        return result
    listed = cast("list[dict[str, Any]]", result.get(section, []))
    if not client_supports_apps(ctx):
        return {**result, section: [each for each in listed if each.get("uri") != CARD_URI]}
    return {**result, section: [_linked(each) for each in listed]}


def _linked(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("name") not in _TOOLS or "inputSchema" not in tool:
        return tool
    meta = cast("dict[str, Any]", tool.get("_meta") or {})
    return {**tool, "_meta": {**meta, "ui": {"resourceUri": CARD_URI}}}


__all__ = ["APP_MIME_TYPE", "CARD_URI", "job_card", "link_card", "page"]
