"""Agents as the API says them: one answer for both SDK generations (fields of both are filled)."""

from typing import Any

from perdure.domain.agents import AgentDetails, Secret
from perdure.wire.blocks import block
from perdure.wire.folders import folder
from perdure.wire.generations import Generation
from perdure.wire.groups import group
from perdure.wire.identities import identity
from perdure.wire.messages import public
from perdure.wire.models import embedding_config, llm_config, model_settings
from perdure.wire.times import precise
from perdure.wire.tools import tool

Wire = dict[str, Any]


def agent_state(details: AgentDetails) -> Wire:
    """An agent with all its relations."""
    agent = details.agent
    secrets = [_secret(secret) for secret in details.secrets]
    memory_of = memory(details)
    managed = None if details.group is None else group(details.group)
    embedding = agent.embedding
    return {
        "id": agent.id,
        "name": agent.name,
        "agent_type": agent.agent_type,
        "system": agent.system,
        "description": agent.description,
        "metadata": agent.metadata,
        "model": agent.model.handle,
        "embedding": None if embedding is None else embedding.handle,
        "model_settings": model_settings(agent),
        "llm_config": llm_config(agent),
        "embedding_config": embedding_config(embedding, agent.embedding_chunk_size),
        "compaction_settings": agent.compaction_settings,
        "response_format": agent.response_format,
        "memory": memory_of,
        "blocks": memory_of["blocks"],
        "tools": [tool(each) for each in details.tools],
        "tool_rules": list(agent.tool_rules),
        "sources": [folder(each) for each in details.folders],
        "tags": list(details.tags),
        "secrets": secrets,
        "tool_exec_environment_variables": secrets,
        "identity_ids": [each.id for each in details.identities],
        "identities": [identity(each) for each in details.identities],
        "message_ids": list(details.message_ids),
        "pending_approval": _pending(details),
        "managed_group": managed,
        "multi_agent_group": managed,
        "message_buffer_autoclear": agent.message_buffer_autoclear,
        "enable_sleeptime": agent.enable_sleeptime,
        "max_files_open": agent.max_files_open,
        "per_file_view_window_char_limit": agent.per_file_view_window_char_limit,
        "timezone": agent.timezone,
        "hidden": agent.hidden,
        "project_id": agent.project_id,
        "template_id": agent.template_id,
        "base_template_id": agent.base_template_id,
        "deployment_id": agent.deployment_id,
        "entity_id": agent.entity_id,
        "last_run_completion": precise(agent.last_run_completion),
        "last_run_duration_ms": agent.last_run_duration_ms,
        "last_stop_reason": agent.last_stop_reason,
        "created_at": precise(agent.created_at),
        "updated_at": precise(agent.updated_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def _pending(details: AgentDetails) -> Wire | None:
    request = details.pending_approval
    return None if request is None else public(request, Generation.V1)[0]


def memory(details: AgentDetails) -> Wire:
    """The container in which 0.1.x expects an agent's blocks."""
    return {
        "blocks": [block(each) for each in details.blocks],
        "file_blocks": [],
        "prompt_template": "",
        "agent_type": details.agent.agent_type,
        "git_enabled": False,
    }


def _secret(secret: Secret) -> Wire:
    return {
        "id": secret.id,
        "agent_id": secret.agent_id,
        "key": secret.key,
        "value": secret.value,
        "value_enc": None,
        "description": secret.description,
        "created_at": precise(secret.created_at),
        "updated_at": precise(secret.updated_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }
