"""Tools as callers make and change them: what models are shown follows from the source. Nothing of it is run."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from perdure.domain.errors import Invalid
from perdure.domain.ids import new_id, now
from perdure.domain.tools import EXTERNAL_MCP, Tool
from perdure.tools import source

PYTHON_SOURCE: Final = "python"
TYPESCRIPT: Final = "typescript"
_PACKAGE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?(?:\[[A-Za-z0-9._,-]{1,100}\])?")
_BOUND: Final = r"(?:==|>=|<=|~=|!=|<|>)[0-9A-Za-z.!+*_-]{1,50}"
_VERSION: Final = re.compile(rf"[0-9A-Za-z][0-9A-Za-z.!+*_-]{{0,49}}|{_BOUND}(?:,{_BOUND}){{0,5}}")
_NPM_PACKAGE: Final = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]{0,100}/)?[a-z0-9~-][a-z0-9._~-]{0,100}")
_NPM_VERSION: Final = re.compile(r"(?:\^|~|[<>]?=?)[0-9A-Za-z*][0-9A-Za-z.+*_-]{0,49}")
MOST_REQUIREMENTS: Final = 50
MOST_SEARCHED: Final = 5_000
"""Tools that a search looks at, the newest first."""


def make(fields: Mapping[str, Any], taken: Collection[str]) -> Tool:
    """A new tool of these fields; `taken` are names of the server's own. Raises Invalid saying what to mend."""
    at = now()
    blank = Tool(
        id=new_id("tool"), name="", tool_type="custom", description="", json_schema={}, created_at=at, updated_at=at
    )
    return change(blank, fields, taken)


def change(tool: Tool, fields: Mapping[str, Any], taken: Collection[str]) -> Tool:
    """The tool with these fields changed, and what follows from them. Raises Invalid saying what to mend."""
    changed = msgspec.structs.replace(tool, **fields, updated_at=now())
    if tool.tool_type == EXTERNAL_MCP:
        fixed = {"source_code", "source_type", "json_schema", "args_json_schema"} & fields.keys()
        if fixed:
            raise Invalid(f"{', '.join(sorted(fixed))} of {tool.name} come from its MCP server. Change them there.")
        return changed
    if tool.tool_type != "custom":
        raise Invalid(f"{tool.name} comes with the server and cannot be changed. Make a tool with another name.")
    _check_requirements(changed)
    if not {"source_code", "source_type", "json_schema", "args_json_schema", "description"} & fields.keys():
        return changed
    schema = _schema(changed, fields)
    if schema["name"] in taken:
        raise Invalid(f"{schema['name']} is the name of a tool that comes with the server. Give yours another name.")
    description = fields.get("description") or schema["description"]
    schema = {**schema, "description": description}
    return msgspec.structs.replace(changed, name=schema["name"], description=description, json_schema=schema)


def _schema(tool: Tool, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What models are shown: as the caller wrote it, or else as the source has it."""
    written = fields.get("json_schema")
    text = tool.source_code
    if not text or not text.strip():
        raise Invalid("A tool needs its source_code.")
    if tool.source_type == TYPESCRIPT:
        if not (written or tool.json_schema):
            raise Invalid("A TypeScript tool needs its json_schema: its types cannot be read from here.")
        schema = source.checked(written or tool.json_schema)
        if not re.search(rf"\bfunction\s+{re.escape(schema['name'])}\b|\b{re.escape(schema['name'])}\s*[=:]", text):
            raise Invalid(f"The source has no function {schema['name']}, which json_schema names.")
        return schema
    if tool.source_type != PYTHON_SOURCE:
        raise Invalid(f"source_type {tool.source_type!r} is not known. Use python or typescript.")
    if written:
        schema = source.checked(written)
        source.function_of(text, schema["name"])
        return schema
    return source.schema_of(text, arguments=tool.args_json_schema)


def _check_requirements(tool: Tool) -> None:
    for packages, name, versions, what, example in (
        (tool.pip_requirements, _PACKAGE, _VERSION, "pip_requirements", "1.2.3 or >=1.2,<2"),
        (tool.npm_requirements, _NPM_PACKAGE, _NPM_VERSION, "npm_requirements", "1.2.3, ^1.2 or ~1.2"),
    ):
        if len(packages or ()) > MOST_REQUIREMENTS:
            raise Invalid(f"{what} names more than {MOST_REQUIREMENTS} packages.")
        for each in packages or ():
            if not name.fullmatch(str(each.get("name"))):
                raise Invalid(
                    f"{what} names {str(each.get('name'))[:80]!r}. Give the name of a package in the registry: no "
                    "address, no path, no option."
                )
            version = each.get("version")
            if version and not versions.fullmatch(str(version)):
                raise Invalid(
                    f"{what} asks for version {str(version)[:80]!r} of {each['name']}. Write it as {example}."
                )


def ranked(tools: Sequence[Tool], query: str | None) -> list[tuple[Tool, float]]:
    """Tools that have words of a query in their name, description or tags, best first, each with a score up to 1.

    All of them, with 1, where nothing is asked for.
    """
    words = set(re.findall(r"\w+", (query or "").casefold().replace("_", " ")))
    if not words:
        return [(tool, 1.0) for tool in tools]
    found: list[tuple[Tool, float]] = []
    for tool in tools:
        name = tool.name.casefold().replace("_", " ")
        text = f"{tool.description} {' '.join(tool.tags)}".casefold()
        score = sum(1.0 if word in name else 0.5 if word in text else 0.0 for word in words) / len(words)
        if score:
            found.append((tool, score))
    return sorted(found, key=lambda pair: -pair[1])
