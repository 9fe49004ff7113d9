"""Where a project of Google Cloud serves models: Vertex, which Google now calls the Agent Platform."""

import re
from collections.abc import Mapping
from typing import Final

from perdure.domain.errors import Invalid
from perdure.providers.google_auth import METADATA_HOST, METADATA_NAME, GoogleAuth, read_key
from perdure.providers.http import Endpoint, HttpClient

PROJECT_NAME: Final = "GOOGLE_CLOUD_PROJECT"
LOCATION_NAME: Final = "GOOGLE_CLOUD_LOCATION"
CLAUDE_PROJECT_NAME: Final = "ANTHROPIC_VERTEX_PROJECT_ID"
CLAUDE_LOCATION_NAME: Final = "CLOUD_ML_REGION"
"""As Anthropic's own clients name them: a project that serves Gemini need not serve Claude, too."""

_VERSION: Final = "v1beta1"
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]*")
_LOCATION: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
_MULTI_REGIONS: Final = ("us", "eu")


def vertex_endpoint(
    environment: Mapping[str, str], http: HttpClient, name: str, publisher: str, root: str
) -> Endpoint | None:
    """The endpoint of a publisher's models, at `root` in place of Google's own host where that is not empty.

    None unless the environment names a location and a project, which may be the one that a key file is of. Raises
    Invalid for values of no use.
    """
    location = environment.get(LOCATION_NAME, "").strip()
    key = read_key(environment) if location else None
    project = environment.get(PROJECT_NAME, "").strip() or (key.project_id if key is not None else "")
    if not (location and project):
        return None
    if not _LOCATION.fullmatch(location):
        raise Invalid(f"{LOCATION_NAME} must be a location of Google Cloud, such as us-central1 or global")
    if not _PROJECT.fullmatch(project):
        raise Invalid(f"{PROJECT_NAME} must be the id of a project of Google Cloud, such as my-project-12345")
    path = f"{_VERSION}/projects/{project}/locations/{location}/publishers/{publisher}"
    host = environment.get(METADATA_NAME, "").strip() or METADATA_HOST
    return Endpoint(
        name=name, url=f"{root or _host(location)}/{path}", sign=GoogleAuth(http, key, host),
        key=key.private_key or key.refresh_token if key is not None else "",
    )  # fmt: skip


def claude_endpoint(environment: Mapping[str, str], http: HttpClient, name: str, root: str) -> Endpoint | None:
    """The endpoint of Anthropic's models, for the project and the location that are named for them.

    The location may be the one of everything else. None and Invalid as in `vertex_endpoint`.
    """
    project = environment.get(CLAUDE_PROJECT_NAME, "").strip()
    location = environment.get(CLAUDE_LOCATION_NAME, "").strip() or environment.get(LOCATION_NAME, "")
    if not project:
        return None
    place = {**environment, PROJECT_NAME: project, LOCATION_NAME: location}
    return vertex_endpoint(place, http, name, "anthropic", root)


def _host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
