"""Every manifest has the project's version, name, tools and variables."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from doubleword_batch.mcp_server import build_server
from doubleword_batch.settings import Settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = (
    ".claude-plugin/plugin.json",
    ".claude-plugin/marketplace.json",
    "manifest.json",
    "server.json",
    "gemini-extension.json",
)


def read(name):
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def values(node, key):
    """Every value of a key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values(value, key)


@pytest.mark.parametrize("name", FILES)
def test_has_the_projects_version(name):
    versions = list(values(read(name), "version"))

    assert versions
    assert set(versions) == {PROJECT["version"]}


@pytest.mark.parametrize("name", [name for name in FILES if name != "server.json"])
def test_has_the_projects_name(name):
    assert read(name)["name"] == PROJECT["name"]


@pytest.mark.parametrize("name", FILES)
def test_names_only_variables_that_the_package_reads(name):
    source = (ROOT / "server" / "doubleword_batch" / "settings.py").read_text(encoding="utf-8")
    named = set(re.findall(r"DOUBLEWORD_[A-Z_]+", (ROOT / name).read_text(encoding="utf-8")))

    assert named <= set(re.findall(r'"(DOUBLEWORD_[A-Z_]+)"', source))


@pytest.mark.parametrize("name", [".claude-plugin/plugin.json", "gemini-extension.json"])
def test_starts_the_command_of_the_folder_that_it_was_installed_into(name):
    (server,) = read(name)["mcpServers"].values()
    place = server["args"][server["args"].index("--project") + 1]

    assert server["command"] == "uv"
    assert re.fullmatch(r"\$\{\w+\}", place)
    assert server["args"][-4:] == ["python", "-I", "-m", "doubleword_batch"]


def test_the_plugin_brings_the_skill_and_the_marketplace_the_plugin():
    (skills,) = read(".claude-plugin/plugin.json")["skills"]
    (plugin,) = read(".claude-plugin/marketplace.json")["plugins"]

    assert [path.parent.name for path in (ROOT / skills).glob("*/SKILL.md")] == ["doubleword-batch"]
    assert (ROOT / plugin["source"] / ".claude-plugin" / "plugin.json").exists()


async def test_the_bundle_lists_the_tools_that_exist():
    tools = await build_server(Settings.from_environment({})).list_tools()

    assert [tool["name"] for tool in read("manifest.json")["tools"]] == [t.name for t in tools]


def test_the_bundle_asks_for_what_it_passes_on_and_hides_the_key():
    manifest = read("manifest.json")
    fields = manifest["user_config"]
    passed = set(re.findall(r"user_config\.(\w+)", json.dumps(manifest["server"])))

    assert passed == set(fields)
    assert all(entry["description"] for entry in fields.values())
    assert fields["folder"]["default"] == "${DOCUMENTS}"  # a place that every system has
    assert fields["api_key"]["sensitive"]
    assert not fields["api_key"]["required"]
    assert (ROOT / manifest["server"]["entry_point"]).exists()


def test_the_registry_entry_is_the_one_that_the_readme_claims():
    entry = read("server.json")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (package,) = entry["packages"]

    assert f"mcp-name: {entry['name']}" in readme
    assert entry["$schema"].endswith("/2025-12-11/server.schema.json")
    assert len(entry["description"]) <= 100
    assert (package["registryType"], package["identifier"]) == ("pypi", PROJECT["name"])
    assert package["transport"] == {"type": "stdio"}
    secrets = {v["name"]: v["isSecret"] for v in package["environmentVariables"]}
    assert [name for name, is_secret in secrets.items() if is_secret] == ["DOUBLEWORD_API_KEY"]


@pytest.mark.parametrize("name", FILES)
def test_holds_no_key(name):
    text = (ROOT / name).read_text(encoding="utf-8")

    assert not re.search(r'API_KEY"?\s*:\s*"(?!\$\{)', text)


def test_the_bundle_s_list_names_nothing_that_is_gone():
    listed = (ROOT / ".mcpbignore").read_text(encoding="utf-8").splitlines()
    taken_in = [line.removeprefix("!/") for line in listed if line.startswith("!/")]

    assert [pattern for pattern in taken_in if not any(ROOT.glob(pattern))] == []
