"""The OpenAPI document: what the framework knows of the requests, and what is said here of the answers."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi.openapi.utils import get_openapi

from perdure.api.operations import Operation, Operations
from perdure.api.reply import ENCODER

_SCHEMAS: Final[Mapping[str, str]] = {
    "Agent": """id name agent_type system description? metadata:object model embedding? model_settings:object
        llm_config:object embedding_config:object? compaction_settings:object? response_format:object? memory:Memory
        blocks:[Block] tools:[Tool] tool_rules:[object] sources:[object] tags:[string] secrets:[object]
        tool_exec_environment_variables:[object] identity_ids:[string] identities:[Identity] message_ids:[string]
        pending_approval:object? managed_group:Group? multi_agent_group:Group? message_buffer_autoclear:boolean
        enable_sleeptime:boolean max_files_open:integer? per_file_view_window_char_limit:integer? timezone
        hidden:boolean? project_id? template_id? base_template_id? deployment_id? entity_id? last_run_completion:date?
        last_run_duration_ms:integer? last_stop_reason? created_at:date updated_at:date created_by_id?
        last_updated_by_id?""",
    "Memory": "blocks:[Block] file_blocks:[object] prompt_template agent_type? git_enabled:boolean",
    "Block": """id label value limit:integer version:integer description? read_only:boolean hidden:boolean?
        metadata:object tags:[string] name? template_name? is_template:boolean preserve_on_migration:boolean
        project_id? template_id? base_template_id? deployment_id? entity_id? created_by_id? last_updated_by_id?""",
    "BlockVersion": "block_id version:integer value actor run_id? created_at:date",
    "MemoryVariables": "variables:object",
    "Archive": """id name description? embedding? embedding_config:object? metadata:object vector_db_provider
        created_at:date updated_at:date created_by_id? last_updated_by_id?""",
    "ArchivePassage": """id archive_id? text tags:[string] metadata:object embedding:[number]? embedding_config:object?
        embedding_model? source_id? file_id? file_name? is_deleted:boolean created_at:date updated_at:date
        created_by_id? last_updated_by_id?""",
    "FoundPassages": "results:[object] count:integer",
    "ScoredPassage": "passage:ArchivePassage score:number metadata:object",
    "FoundMessage": "message_type message_id agent_id conversation_id? created_at:date content score:number",
    "RankedMessage": "embedded_text message:object fts_rank:integer? vector_rank:integer? rrf_score:number",
    "Tool": """id name tool_type description json_schema:object args_json_schema:object? tags:[string] source_type?
        source_code? return_char_limit:integer pip_requirements:[object]? npm_requirements:[object]?
        default_requires_approval:boolean? enable_parallel_execution:boolean metadata_:object project_id? created_by_id?
        last_updated_by_id? created_at:date? updated_at:date?""",
    "ExportedAgents": """agents:[object] groups:[object] blocks:[object] files:[object] sources:[object] tools:[object]
        mcp_servers:[object] skills:[object] metadata:object created_at:date""",
    "Imported": "agent_ids:[string] warnings:[string]",
    "FoundTool": "tool:Tool combined_score:number fts_rank:integer? vector_rank:integer? embedded_text?",
    "ToolRun": """status func_return stdout:[string]? stderr:[string]? agent_state:object?
        sandbox_config_fingerprint?""",
    "Model": """handle name display_name? provider_name provider_type model model_endpoint_type model_endpoint?
        context_window:integer max_context_window:integer""",
    "EmbeddingModel": """handle name display_name provider_name provider_type embedding_model embedding_endpoint_type
        embedding_endpoint? embedding_dim:integer""",
    "Message": """id date:date message_type name? otid? sender_id? step_id? is_err:boolean? seq_id:integer? run_id?""",
    "Approval": """id agent_id conversation_id? run_id? step_id? tool_call:object tool_calls:[object] created_at:date
        expires_at:date?""",
    "Reply": "messages:[Message] stop_reason:StopReason usage:Usage logprobs:object? turns:[object]?",
    "StopReason": "message_type stop_reason",
    "Usage": """message_type completion_tokens:integer prompt_tokens:integer total_tokens:integer step_count:integer
        cached_input_tokens:integer? cache_write_tokens:integer? reasoning_tokens:integer? context_tokens:integer?
        run_ids:[string]?""",
    "Run": """id agent_id conversation_id? status stop_reason? background:boolean created_at:date updated_at:date
        completed_at:date? metadata:object request_config:object base_template_id? callback_url? callback_sent_at:date?
        callback_status_code:integer? callback_error? ttft_ns:integer? total_duration_ns:integer? job_type
        created_by_id? last_updated_by_id?""",
    "RunMetrics": """id agent_id run_start_ns:integer run_ns:integer? ttft_ns:integer? num_steps:integer
        tools_used:[string] template_id? base_template_id? project_id?""",
    "Step": """id run_id job_id agent_id status stop_reason? origin? provider_id? provider_name?
        provider_category? model? model_handle? model_endpoint? context_window_limit:integer?
        completion_tokens:integer prompt_tokens:integer total_tokens:integer prompt_tokens_details:object
        completion_tokens_details:object cached_input_tokens:integer? cache_write_tokens:integer?
        reasoning_tokens:integer? error_type? error_data:object? feedback? tags:[string] messages:[object] tid?
        trace_id? request_id? project_id?""",
    "StepMetrics": """id run_id job_id agent_id provider_id? step_start_ns:integer llm_request_start_ns:integer
        llm_request_ns:integer? tool_execution_ns:integer? step_ns:integer? template_id? base_template_id?
        project_id?""",
    "TokenCounts": """completion_tokens:integer prompt_tokens:integer total_tokens:integer prompt_tokens_details:object
        completion_tokens_details:object""",
    "Conversation": """id agent_id summary? description? model? model_settings:object? context_window_limit:integer?
        archived:boolean archived_at:date? last_message_at:date? hidden:boolean in_context_message_ids:[string]
        isolated_block_ids:[string] created_at:date updated_at:date created_by_id? last_updated_by_id?""",
    "AgentModel": "id object created:integer owned_by",
    "AgentModels": "object data:[AgentModel]",
    "ChatCompletion": "id object created:integer model choices:[object] usage:object",
    "ModelResponse": """id object created_at:integer status background:boolean error:object? incomplete_details:object?
        instructions? max_output_tokens:integer? metadata:object model output:[object] parallel_tool_calls:boolean
        previous_response_id? reasoning:object store:boolean temperature:number? text:object tool_choice tools:[object]
        top_p:number? truncation usage:object?""",
    "Compaction": "summary num_messages_before:integer num_messages_after:integer",
    "ContextOverview": """context_window_size_max:integer context_window_size_current:integer num_messages:integer
        num_archival_memory:integer num_recall_memory:integer num_tokens_external_memory_summary:integer
        external_memory_summary num_tokens_system:integer system_prompt num_tokens_core_memory:integer core_memory
        num_tokens_memory_filesystem:integer memory_filesystem? num_tokens_tool_usage_rules:integer tool_usage_rules?
        num_tokens_directories:integer directories? num_tokens_summary_memory:integer summary_memory?
        num_tokens_functions_definitions:integer functions_definitions:[object] num_tokens_messages:integer
        messages:[object]""",
    "Folder": """id name description? instructions? metadata:object embedding_config:object vector_db_provider?
        created_at:date updated_at:date created_by_id? last_updated_by_id?""",
    "File": """id source_id folder_id file_name original_file_name? file_path? file_type? file_size:integer?
        file_creation_date? file_last_modified_date? processing_status error_message? total_chunks:integer?
        chunks_embedded:integer? content? created_at:date updated_at:date created_by_id? last_updated_by_id?""",
    "AgentFile": """id file_id file_name folder_id folder_name source_id is_open:boolean last_accessed_at:date?
        visible_content? start_line:integer? end_line:integer?""",
    "AgentFiles": "files:[AgentFile] next_cursor? has_more:boolean",
    "Passage": """id text source_id? folder_id? file_id? file_name? archive_id? embedding:[number]?
        embedding_config:object? tags:[string] metadata:object is_deleted:boolean created_at:date updated_at:date
        created_by_id? last_updated_by_id?""",
    "Job": """id job_type status metadata:object created_at:date updated_at:date completed_at:date? stop_reason?
        background:boolean? agent_id? callback_url? callback_sent_at:date? callback_status_code:integer?
        callback_error? ttft_ns:integer? total_duration_ns:integer? user_id? created_by_id? last_updated_by_id?""",
    "Provider": """id name provider_type provider_category api_key? access_key? base_url? region? api_version?
        updated_at:date""",
    "Group": """id description manager_type manager_agent_id? agent_ids:[string] shared_block_ids:[string]
        termination_token? max_turns:integer? sleeptime_agent_frequency:integer? turns_counter:integer?
        last_processed_message_id? max_message_buffer_length:integer? min_message_buffer_length:integer?
        hidden:boolean? project_id? template_id? base_template_id? deployment_id?""",
    "McpServer": """id server_name mcp_server_type type server_url? auth_header? auth_token? custom_headers:object?
        has_auth_token:boolean has_custom_headers:boolean metadata:object""",
    "McpTool": """name title? description inputSchema:object outputSchema:object? annotations:object? _meta:object?
        health:object""",
    "McpRefresh": "added:[string] updated:[string] deleted:[string] left_out:[object]",
    "Identity": """id identifier_key name identity_type project_id? agent_ids:[string] block_ids:[string]
        properties:[object]""",
    "Health": "version status",
    "Done": "message",
    "Error": "detail",
    "OpenAIError": "error:object",
    "Problem": "loc:[any] msg type",
    "Problems": "detail:[Problem]",
}
"""The objects answers are made of: names, each with `:type` unless it is a string, and `?` where it may be null."""

_TYPES: Final[Mapping[str, dict[str, Any]]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object", "additionalProperties": True},
    "date": {"type": "string", "format": "date-time"},
    "any": {},
    "stream": {"type": "string", "description": "Server-sent events, one JSON object each, ended by [DONE]."},
}

_FIELD: Final = re.compile(r"(?P<name>\w+)(?::(?P<type>\[?\w+\]?))?(?P<null>\?)?")

_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "bare": {
        "type": "apiKey",
        "in": "header",
        "name": "X-BARE-PASSWORD",
        "description": "The word `password`, a space, and the password.",
    },
}


def document(operations: Operations, rows: Iterable[Operation], version: str) -> bytes:
    """The document of `rows`, as JSON."""
    listed = list(rows)
    made = get_openapi(title="Perdure", version=version, routes=[operations.route(row) for row in listed])
    for row in listed:
        said = made["paths"][row.path][row.method.lower()]
        said["responses"] = _responses(row)
        if row.is_open:
            said["security"] = []
    components = made.setdefault("components", {})
    bodies = components.get("schemas", {})
    components["schemas"] = {**bodies, **{name: _schema(text) for name, text in _SCHEMAS.items()}}
    components["securitySchemes"] = _SECURITY
    made["security"] = [{name: []} for name in _SECURITY]
    return ENCODER.encode(made)


def fields(name: str) -> set[str]:
    """The names of a schema's fields."""
    return set(_schema(_SCHEMAS[name])["properties"])


def _responses(row: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for kind in (row.returns or "any").split("|"):
        content["text/event-stream" if kind == "stream" else "application/json"] = {"schema": _type(kind)}
    if row.like_openai:
        failed = {"description": "What went wrong, and what to do.", "content": _json("OpenAIError")}
        return {"200": {"description": "Done.", "content": content}, "default": failed}
    return {
        "200": {"description": "Done.", "content": content},
        "422": {"description": "Something sent is wrong.", "content": _json("Problems")},
        "default": {"description": "What went wrong, and what to do.", "content": _json("Error")},
    }


def _json(kind: str) -> dict[str, Any]:
    return {"application/json": {"schema": _type(kind)}}


def _schema(text: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for word in text.split():
        field = _FIELD.fullmatch(word)
        assert field is not None, f"{word!r} is not a field"
        schema = _type(field["type"] or "string")
        properties[field["name"]] = {"anyOf": [schema, {"type": "null"}]} if field["null"] else schema
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": True}


def _type(kind: str) -> dict[str, Any]:
    if kind.startswith("["):
        return {"type": "array", "items": _type(kind[1:-1])}
    if kind in _TYPES:
        return _TYPES[kind]
    assert kind in _SCHEMAS, f"{kind!r} is not a schema"
    return {"$ref": f"#/components/schemas/{kind}"}
