"""Agent files: an agent written so that it can be made anew elsewhere, and agents made of such a file."""

import asyncio
from typing import Annotated

import msgspec
from fastapi import File, Form, Header, UploadFile
from starlette.responses import Response

from perdure.agents import agent_file
from perdure.api.auth import CallerDep
from perdure.api.operations import strict_json
from perdure.api.paths import AgentId
from perdure.api.reply import ENCODER, reply
from perdure.domain.agent_file import Contents, ImportOptions
from perdure.domain.errors import Invalid
from perdure.wire import agent_file as wire
from perdure.wire.generations import is_npm_v0

Field = Annotated[str | None, Form()]


async def export_agent(
    caller: CallerDep,
    agent_id: AgentId,
    conversation_id: str | None = None,
    scrub_messages: bool = False,
    use_legacy_format: bool = False,
    max_steps: int | None = None,
    include_groups: bool = False,
) -> Response:
    """Write an agent with its blocks, tools, messages and companions as an agent file. Secrets stay here.

    With a `conversation_id` its messages are those of that conversation; with `scrub_messages` there are none. With
    `include_groups` the other agents of its groups come along, so that these can be made anew. `max_steps` was for the
    older format and changes nothing.
    """
    if use_legacy_format:
        raise Invalid("The older format of agent files is no longer written. Leave use_legacy_format out.")
    vault = caller.server.vault
    parcel = await caller.server.db.read(
        lambda conn: agent_file.pack(
            conn,
            caller.tenant,
            vault,
            agent_id,
            conversation_id=conversation_id,
            scrub=scrub_messages,
            groups=include_groups,
        )
    )
    # Long histories take a while, in which others want the event loop.
    written = await asyncio.to_thread(lambda: msgspec.json.format(ENCODER.encode(wire.agent_file(parcel))))
    if is_npm_v0(caller.headers):
        # It takes nothing but a JSON string for a file.
        written = ENCODER.encode(written.decode())
    return Response(written, media_type="application/json")


async def import_agents(
    caller: CallerDep,
    file: Annotated[UploadFile, File()],
    append_copy_suffix: Annotated[bool, Form()] = True,
    override_existing_tools: Annotated[bool, Form()] = False,
    strip_messages: Annotated[bool, Form()] = False,
    name: Field = None,
    model: Field = None,
    embedding: Field = None,
    secrets: Field = None,
    project_id: Field = None,
    override_name: Field = None,
    override_model_handle: Field = None,
    override_embedding_handle: Field = None,
    env_vars_json: Field = None,
    x_override_embedding_model: Annotated[str | None, Header()] = None,
) -> Response:
    """Make the agents of an agent file, all or none. Nothing in it is run, fetched or connected to.

    A custom tool that is here by the same name stays as it is unless `override_existing_tools`. `secrets` is a JSON
    object of environment variables. `warnings` of the answer say what the file has that was not made.
    """
    options = ImportOptions(
        name=name or override_name,
        copy_suffix=append_copy_suffix,
        model=model or override_model_handle,
        embedding=embedding or override_embedding_handle or x_override_embedding_model,
        override_tools=override_existing_tools,
        strip_messages=strip_messages,
        secrets=wire.secrets(secrets or env_vars_json),
        project_id=project_id or caller.project,
    )
    contents = await asyncio.to_thread(_contents, await file.read())
    server = caller.server
    made = await agent_file.import_agents(
        server.db, server.catalog, server.vault, server.jobs, server.mcp.vet, caller.tenant, contents, options
    )
    return reply({"agent_ids": made.agent_ids, "warnings": made.warnings})


def _contents(data: bytes) -> Contents:
    try:
        read = strict_json(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise Invalid(f"The agent file is not JSON: {error}.") from error
    return agent_file.described(wire.contents(read))
