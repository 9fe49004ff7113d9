"""Access tokens of Google Cloud, got with a key file or from the machine, and renewed before they run out.

A key file is what Google hands out as JSON: the key of a service account, or a person's own login as `gcloud auth
application-default login` leaves it. See https://developers.google.com/identity/protocols/oauth2/service-account.
Without one the metadata server is asked, which machines, containers and functions of Google's have beside them.
"""

import asyncio
import base64
import importlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from perdure.domain.errors import Invalid, ModelError
from perdure.providers.http import Endpoint, HttpClient

KEY_FILE_NAME: Final = "GOOGLE_APPLICATION_CREDENTIALS"
"""The environment variable that names the key file."""

METADATA_NAME: Final = "GCE_METADATA_HOST"
"""The environment variable that names the metadata server, where it is not Google's own."""
METADATA_HOST: Final = "metadata.google.internal"
METADATA_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"

TOKEN_URL: Final = "https://oauth2.googleapis.com/token"
SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
GRANT_SECONDS: Final = 3600
MARGIN_SECONDS: Final = 120.0
"""A token that would run out sooner is not used for another request."""


class GoogleKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key file, as far as tokens need it. `type` is `service_account` or `authorized_user`."""

    type: str
    project_id: str = ""
    client_email: str = ""
    private_key: str = ""
    private_key_id: str = ""
    token_uri: str = TOKEN_URL
    client_id: str = ""
    client_secret: str = ""
    refresh_token: str = ""
    quota_project_id: str = ""

    def __repr__(self) -> str:
        return f"GoogleKey({self.type!r}, {self.client_email or self.client_id!r})"


def read_key(environment: Mapping[str, str]) -> GoogleKey | None:
    """The key file the environment names, or else the login of `gcloud`; None where there is neither.

    Raises Invalid for one of no use.
    """
    named = environment.get(KEY_FILE_NAME, "").strip()
    path = Path(named) if named else _gcloud_login(environment)
    if path is None:
        return None
    try:
        key = msgspec.json.decode(path.read_bytes(), type=GoogleKey)
    except (OSError, ValueError) as error:
        raise Invalid(f"{KEY_FILE_NAME} must name a readable key file of Google Cloud: {path}: {error}") from error
    whole = {
        "service_account": key.client_email and key.private_key,
        "authorized_user": key.client_id and key.client_secret and key.refresh_token,
    }
    if not whole.get(key.type):
        raise Invalid(
            f"{path} is a key file of type {key.type!r}, which cannot be used: {KEY_FILE_NAME} must name one with "
            "the key of a service account, or a login made with 'gcloud auth application-default login'."
        )
    return key


def _gcloud_login(environment: Mapping[str, str]) -> Path | None:
    """Where `gcloud auth application-default login` leaves what it got, if it left anything."""
    folder, home = environment.get("CLOUDSDK_CONFIG", "").strip(), environment.get("HOME", "").strip()
    if not (folder or home):
        return None
    path = (Path(folder) if folder else Path(home, ".config", "gcloud")) / "application_default_credentials.json"
    return path if path.is_file() else None


class GoogleAuth:
    """A `Signer` that sends the token of `key`, or without one that of the machine's service account.

    One token serves all requests until it is about to run out.
    """

    def __init__(self, http: HttpClient, key: GoogleKey | None, metadata_host: str = METADATA_HOST) -> None:
        self._http = http
        self._key = key
        if key is not None:
            self._place = Endpoint(name="Google's login", url=key.token_uri, key=key.client_secret)
        else:
            # That it asks for this is how a server is told from a stranger who was made to fetch an address.
            headers = {"Metadata-Flavor": "Google"}
            url = f"http://{metadata_host}{METADATA_PATH}"
            self._place = Endpoint(name="Google's metadata server", url=url, headers=headers)
        self._turn = asyncio.Lock()
        self._headers: Mapping[str, str] = {}
        self._renew_at = -math.inf

    async def __call__(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """The headers with the token. Raises ModelError where Google gives none."""
        async with self._turn:
            if time.monotonic() >= self._renew_at:
                await self._renew()
        return self._headers

    async def _renew(self) -> None:
        asked_at = time.monotonic()
        try:
            answer = await self._granted()
        except ModelError as error:
            kind = "llm_authentication" if error.error_type == "llm_bad_request" else error.error_type
            detail = f"Google gave no access token: {error.detail}"
            if self._key is None:
                detail += f" Elsewhere than on Google's machines, {KEY_FILE_NAME} must name a key file."
            raise ModelError(kind, detail, transient=error.transient) from error
        fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        token, seconds = fields.get("access_token"), fields.get("expires_in")
        if not (isinstance(token, str) and isinstance(seconds, int | float)):
            raise ModelError("llm_authentication", "Google's answer to a request for an access token holds none.")
        self._headers = {"Authorization": f"Bearer {token}"}
        if self._key is not None and self._key.quota_project_id:
            self._headers["x-goog-user-project"] = self._key.quota_project_id
        self._renew_at = asked_at + seconds - MARGIN_SECONDS

    async def _granted(self) -> Any:
        if self._key is None:
            return await self._http.get_json(self._place, self._place.url)
        return await self._http.post_form(self._place, self._place.url, self._grant(self._key))

    @staticmethod
    def _grant(key: GoogleKey) -> dict[str, str]:
        if key.type == "authorized_user":
            return {
                "grant_type": "refresh_token",
                "client_id": key.client_id,
                "client_secret": key.client_secret,
                "refresh_token": key.refresh_token,
            }
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion(key, time.time())}


def assertion(key: GoogleKey, at: float) -> str:
    """What a service account shows for a token: a claim sealed with its key (RS256). `at` is seconds since 1970."""
    header = {"alg": "RS256", "typ": "JWT", "kid": key.private_key_id}
    issued = int(at)
    claims = {
        "iss": key.client_email,
        "scope": SCOPE,
        "aud": key.token_uri,
        "iat": issued,
        "exp": issued + GRANT_SECONDS,
    }
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    return b".".join((signed, _encoded(_sealed(key.private_key, signed)))).decode()


def _sealed(private_key: str, message: bytes) -> bytes:
    # Loaded with the first token: importing it takes longer than starting the rest of the server.
    serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
    hashes = importlib.import_module("cryptography.hazmat.primitives.hashes")
    padding = importlib.import_module("cryptography.hazmat.primitives.asymmetric.padding")
    try:
        key = serialization.load_pem_private_key(private_key.encode(), None)
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            "llm_authentication", f"The private key of the Google key file is of no use: {error}"
        ) from error


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
