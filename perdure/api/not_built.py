"""What the contract has and this version lacks: each is answered 501, by name."""

from typing import Final

from perdure.api.operations import Operation

_LACKING: Final = """
POST   /v1/agents/search search agents by their settings
POST   /v1/agents/{agent_id}/messages/preview-raw-payload show what the model would be asked
POST   /v1/agents/{agent_id}/migrate move an agent to another version of its template
GET    /v1/agents/{agent_id}/schedule list an agent's scheduled messages
POST   /v1/agents/{agent_id}/schedule schedule a message
DELETE /v1/agents/{agent_id}/schedule/{scheduled_message_id} delete a scheduled message
GET    /v1/agents/{agent_id}/schedule/{scheduled_message_id} get a scheduled message
POST   /v1/agents/{agent_id}/template make a template of an agent
POST   /v1/agents/{agent_id}/version-template save an agent as a new version of its template
GET    /v1/client-side-access-tokens list tokens for browsers
POST   /v1/client-side-access-tokens make a token for a browser
DELETE /v1/client-side-access-tokens/{token} revoke a browser's token
GET    /v1/environments list connected devices
GET    /v1/environments/{device_id} get a connected device
POST   /v1/environments/{connection_id}/messages send a message to a connected device
GET    /v1/messages/batches list batches
POST   /v1/messages/batches start a batch
GET    /v1/messages/batches/{batch_id} get a batch
PATCH  /v1/messages/batches/{batch_id}/cancel cancel a batch
GET    /v1/messages/batches/{batch_id}/messages list the messages of a batch
GET    /v1/models/embeddings list embedding models under their second path
GET    /v1/projects list projects
GET    /v1/providers/check check the default provider
GET    /v1/runs/{run_id}/trace show a run's spans
GET    /v1/steps/{step_id}/trace show what a step's model was asked and answered
GET    /v1/telemetry/{step_id} show what a step's model was asked, under the old path
GET    /v1/templates list templates
POST   /v1/templates create a template
DELETE /v1/templates/{template_name} delete a template
PATCH  /v1/templates/{template_name} change a template
POST   /v1/templates/{project_id} create a template in a project
POST   /v1/templates/{template_version}/agents create agents from a template
POST   /v1/templates/{template_name}/rollback go back to an earlier version of a template
POST   /v1/templates/{template_name}/save save a version of a template
DELETE /v1/templates/{project_id}/{template_name} delete a template of a project
POST   /v1/templates/{project_id}/{template_name} save a version of a project's template
POST   /v1/templates/{project}/{template_version}/agents create agents from a project's template
POST   /v1/templates/{project_id}/{template_name}/deployments/{deployment_id}/migrate move a deployment to a template
PATCH  /v1/templates/{project_id}/{template_name}/description describe a template
POST   /v1/templates/{project_id}/{template_version}/fork copy a template
PATCH  /v1/templates/{project_id}/{template_name}/name rename a template
GET    /v1/templates/{project_id}/{template_version}/snapshot get a snapshot of a template
PUT    /v1/templates/{project_id}/{template_version}/snapshot replace a template by a snapshot
GET    /v1/templates/{project_id}/{name}/versions list the versions of a template
GET    /v1/tools/composio/apps list Composio apps
GET    /v1/tools/composio/apps/{composio_app_name}/actions list the actions of a Composio app
POST   /v1/tools/composio/{composio_action_name} add a Composio action as a tool
POST   /v1/voice-beta/{agent_id}/chat/completions talk to a voice agent as OpenAI clients do
"""


def _operation(line: str) -> Operation:
    method, path, summary = line.split(maxsplit=2)
    return Operation(method, path, None, summary)


NOT_BUILT: Final = tuple(_operation(line) for line in _LACKING.strip().splitlines())
