"""Steps as callers see them."""

from typing import Any, Literal

import msgspec

from perdure.domain.runs import Step, Usage
from perdure.wire.text import Body, Text


class FeedbackBody(Body):
    """What somebody thought of a step. A field that is left out stays as it is."""

    feedback: Literal["positive", "negative"] | None = None
    tags: list[Text] | None = None

    def changed(self) -> dict[str, Any]:
        """The fields that were sent, and what they are to be."""
        given: dict[str, Any] = {"feedback": self.feedback, "tags": tuple(self.tags or ())}
        return {name: value for name, value in given.items() if name in self.model_fields_set}


def step(step: Step) -> dict[str, Any]:
    """A step with the keys of both generations. What only a hosted service knew is null."""
    return {
        "id": step.id,
        "run_id": step.run_id,
        "job_id": step.run_id,
        "agent_id": step.agent_id,
        "status": step.status,
        "stop_reason": step.stop_reason,
        "origin": None,
        "provider_id": None,
        "provider_name": step.provider_name,
        "provider_category": "base",
        "model": step.model,
        "model_handle": step.model_handle,
        "model_endpoint": step.model_endpoint,
        "context_window_limit": step.context_window_limit,
        **token_counts(step.usage),
        "cached_input_tokens": step.usage.cached_input_tokens,
        "cache_write_tokens": step.usage.cache_write_tokens,
        "reasoning_tokens": step.usage.reasoning_tokens,
        "error_type": None if step.error is None else step.error.error_type,
        "error_data": None if step.error is None else msgspec.structs.asdict(step.error),
        "feedback": step.feedback,
        "tags": step.tags,
        "messages": [],
        "tid": None,
        "trace_id": None,
        "request_id": None,
        "project_id": None,
    }


def step_metrics(step: Step) -> dict[str, Any]:
    """How long a step took, in nanoseconds."""
    begun = step.created_at * 1000
    spent = None if step.model_ns is None else step.model_ns + (step.tool_ns or 0)
    return {
        "id": step.id,
        "run_id": step.run_id,
        "job_id": step.run_id,
        "agent_id": step.agent_id,
        "provider_id": None,
        "step_start_ns": begun,
        "llm_request_start_ns": begun,
        "llm_request_ns": step.model_ns,
        "tool_execution_ns": step.tool_ns,
        "step_ns": spent,
        "template_id": None,
        "base_template_id": None,
        "project_id": None,
    }


def token_counts(usage: Usage) -> dict[str, Any]:
    """Tokens as runs and steps count them. Null where the provider did not report."""
    return {
        "completion_tokens": usage.completion_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_read_tokens": usage.cached_input_tokens,
            "cache_creation_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
