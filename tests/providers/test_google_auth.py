import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from perdure.domain.errors import Invalid, ModelError
from perdure.providers.google_auth import GRANT_SECONDS, KEY_FILE_NAME, SCOPE, GoogleAuth, GoogleKey, read_key
from perdure.providers.http import Endpoint, HttpClient
from tests.providers.scripted import Asked, lists, run, serving

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
ACCOUNT = {"type": "service_account", "client_email": "robot@p.iam.gserviceaccount.com", "private_key": PEM}
PERSON = {"type": "authorized_user", "client_id": "c", "client_secret": "hush", "refresh_token": "r"}


def key_file(folder: Path, **fields: Any) -> dict[str, str]:
    file = folder / "key.json"
    file.write_text(json.dumps(fields))
    return {KEY_FILE_NAME: str(file)}


def tokens(replies: Any, key: dict[str, Any], times: int = 1) -> list[Asked]:
    """Asks a provider `times` times with a token that `replies` gives; what the provider and Google were asked."""

    async def go() -> list[Asked]:
        async with serving(lists({"/token": replies, "/v1/models": {"data": []}})) as server:
            http = HttpClient()
            sign = GoogleAuth(http, GoogleKey(**{**key, "token_uri": f"{server.url}/token"}))
            endpoint = Endpoint(name="vertex", url=f"{server.url}/v1", sign=sign)
            try:
                for _ in range(times):
                    await http.get_json(endpoint, f"{endpoint.url}/models")
            finally:
                await http.close()
            return server.asked

    return run(go())


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_service_account_shows_a_sealed_claim() -> None:
    login, asked = tokens({"access_token": "t1", "expires_in": 3599}, {**ACCOUNT, "private_key_id": "k1"})
    assert login.headers["content-type"] == "application/x-www-form-urlencoded"
    form = parse_qs(login.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    header, claims, seal = form["assertion"][0].split(".")
    signed = f"{header}.{claims}".encode()
    PRIVATE.public_key().verify(decoded(seal), signed, padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(decoded(header)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    said = json.loads(decoded(claims))
    assert (said["iss"], said["scope"]) == (ACCOUNT["client_email"], SCOPE)
    assert said["aud"].endswith("/token")
    assert said["exp"] - said["iat"] == GRANT_SECONDS
    assert asked.headers["authorization"] == "Bearer t1"


def test_a_persons_login_is_refreshed() -> None:
    login, asked = tokens({"access_token": "t2", "expires_in": 3599}, {**PERSON, "quota_project_id": "mine"})
    assert parse_qs(login.body.decode())["refresh_token"] == ["r"]
    assert (asked.headers["authorization"], asked.headers["x-goog-user-project"]) == ("Bearer t2", "mine")


@pytest.mark.parametrize(("lasts", "logins"), [(3599, 1), (60, 3)])
def test_a_token_serves_until_it_is_about_to_run_out(lasts: int, logins: int) -> None:
    paths = [asked.path for asked in tokens({"access_token": "t", "expires_in": lasts}, PERSON, times=3)]
    assert paths.count("/token") == logins
    assert paths.count("/v1/models") == 3


@pytest.mark.parametrize(
    ("replies", "error_type"),
    [(400, "llm_authentication"), (401, "llm_authentication"), (503, "llm_error"), ({}, "llm_authentication")],
)
def test_no_token_is_an_error_that_says_so(replies: Any, error_type: str) -> None:
    with pytest.raises(ModelError) as raised:
        tokens(replies, PERSON)
    assert raised.value.error_type == error_type
    assert "Google" in raised.value.detail
    assert "hush" not in raised.value.detail


def test_a_private_key_of_no_use_is_named() -> None:
    with pytest.raises(ModelError) as raised:
        tokens({"access_token": "t", "expires_in": 1}, {**ACCOUNT, "private_key": "not a key"})
    assert "private key" in raised.value.detail


def test_key_files_are_read(tmp_path: Path) -> None:
    assert read_key({}) is None
    key = read_key(key_file(tmp_path, **ACCOUNT, project_id="p", universe_domain="googleapis.com"))
    assert key is not None
    assert (key.project_id, key.token_uri) == ("p", "https://oauth2.googleapis.com/token")
    assert PEM not in repr(key)


def test_the_login_of_gcloud_is_found(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    for settings in ({"HOME": str(tmp_path)}, {"CLOUDSDK_CONFIG": str(folder)}):
        assert read_key(settings) is None
    (folder / "application_default_credentials.json").write_text(json.dumps(PERSON))
    for settings in ({"HOME": str(tmp_path)}, {"HOME": "/nowhere", "CLOUDSDK_CONFIG": str(folder)}):
        key = read_key(settings)
        assert key is not None
        assert key.refresh_token == "r"
    named = read_key({"HOME": str(tmp_path), **key_file(tmp_path, **ACCOUNT)})
    assert named is not None
    assert named.type == "service_account", "a file that is named comes first"


@pytest.mark.parametrize(
    "fields", [{}, {"type": "service_account"}, {"type": "external_account"}, {**PERSON, "client_id": ""}]
)
def test_key_files_of_no_use_are_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=KEY_FILE_NAME):
        read_key(key_file(tmp_path, **fields))


def test_a_key_file_that_is_not_there_is_named() -> None:
    with pytest.raises(Invalid, match=KEY_FILE_NAME):
        read_key({KEY_FILE_NAME: "/nowhere/key.json"})
