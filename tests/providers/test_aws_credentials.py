"""Keys of AWS that are found where its command line finds them: real files, and stand-ins for the servers of roles.

The stand-ins run in the loop that asks, which would stand still if looking for keys held it up.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.domain.errors import Invalid, ModelError
from perdure.providers.aws_credentials import CHAIN_NAME, AwsChain, looks_further
from perdure.providers.aws_signing import AwsSigner
from perdure.providers.bedrock import bedrock_endpoint
from perdure.providers.http import Endpoint, HttpClient
from tests.providers.scripted import Answer, Asked, plain, run, serving

FOUND = {"AccessKeyId": "ASIAFOUND", "SecretAccessKey": "found+secret", "Token": "found/token"}
SETTINGS = {CHAIN_NAME: "chain", "AWS_REGION": "eu-west-1"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine that has no keys of AWS anywhere."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def role(seconds: int) -> bytes:
    """The keys of a role, which expire after so long."""
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    return json.dumps({"Code": "Success", "Expiration": expires.isoformat(), **FOUND}).encode()


def asked(monkeypatch: pytest.MonkeyPatch, keys: dict[str, bytes], environment: dict[str, str]) -> list[Asked]:
    """Asks Bedrock twice for its models; what it was asked, and what the places were where keys are."""

    async def answer(asked: Asked, writer: Any) -> None:
        kind = "text/plain" if asked.path.startswith("/latest") else "application/json"
        writer.write(plain(200, keys.get(asked.path, b'{"modelSummaries": []}'), kind))

    async def go(answer: Answer) -> list[Asked]:
        async with serving(answer) as server:
            for name, value in environment.items():
                monkeypatch.setenv(name, value.replace("URL", server.url))
            endpoint = bedrock_endpoint(SETTINGS, "bedrock", server.url)
            assert endpoint is not None
            http = HttpClient()
            try:
                for _ in range(2):
                    await http.get_json(endpoint, f"{server.url}/foundation-models")
            finally:
                await http.close()
            return server.asked

    return run(go(answer))


def assert_signed_by(asked: Asked, key_id: str, secret: str, token: str) -> None:
    signer = AwsSigner(key_id=key_id, secret=secret, token=token, region="eu-west-1", service="bedrock")
    url = f"http://{asked.headers['host']}{asked.path}"
    again = signer.headers(asked.method, url, asked.body, asked.headers["x-amz-date"])
    assert asked.headers["authorization"] == again["Authorization"]
    assert asked.headers.get("x-amz-security-token", "") == token


def test_a_profile_of_the_shared_files(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = d\n"
        "[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = w+secret\n"
    )
    first, second = asked(machine, {}, {"AWS_PROFILE": "work"})
    for each in (first, second):
        assert_signed_by(each, "AKIAWORK", "w+secret", "")


def test_a_program_that_a_profile_names(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As single sign-on and vaults of passwords are attached."""
    told = json.dumps({"Version": 1, **{name.replace("Token", "SessionToken"): v for name, v in FOUND.items()}})
    (tmp_path / "told.json").write_text(told)
    (tmp_path / "config").write_text(f"[profile vault]\ncredential_process = cat {tmp_path}/told.json\n")
    for each in asked(machine, {}, {"AWS_PROFILE": "vault"}):
        assert_signed_by(each, "ASIAFOUND", "found+secret", "found/token")


@pytest.mark.parametrize(("lasts", "times"), [(3600, 1), (60, 3)])
def test_the_role_of_a_container_is_renewed_before_it_runs_out(
    machine: pytest.MonkeyPatch, lasts: int, times: int
) -> None:
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "URL/role", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "in"}
    seen = asked(machine, {"/role": role(lasts)}, environment)
    places = [each for each in seen if each.path == "/role"]
    assert len(places) == times
    assert {each.headers["authorization"] for each in places} == {"in"}
    for each in seen:
        if each.path != "/role":
            assert_signed_by(each, "ASIAFOUND", "found+secret", "found/token")


def test_the_role_of_a_machine(machine: pytest.MonkeyPatch) -> None:
    listing = "/latest/meta-data/iam/security-credentials/"
    keys = {"/latest/api/token": b"session", listing: b"robot", f"{listing}robot": role(3600)}
    environment = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "URL"}
    *places, first, second = asked(machine, keys, environment)
    assert [(each.method, each.path) for each in places] == [
        ("PUT", "/latest/api/token"), ("GET", listing), ("GET", f"{listing}robot"),
    ]  # fmt: skip
    for each in (first, second):
        assert_signed_by(each, "ASIAFOUND", "found+secret", "found/token")


@pytest.mark.parametrize(
    ("profile", "why"), [("", "No credentials for AWS were found"), ("nobody", "nobody"), ("broken", "cat")]
)
def test_no_keys_are_an_error_that_says_why(
    machine: pytest.MonkeyPatch, tmp_path: Path, profile: str, why: str
) -> None:
    (tmp_path / "config").write_text(f"[profile broken]\ncredential_process = cat {tmp_path}/nothing\n")
    if profile:
        machine.setenv("AWS_PROFILE", profile)

    async def go() -> None:
        endpoint = Endpoint(name="bedrock", url="http://127.0.0.1:1", sign=AwsChain("eu-west-1", "bedrock"))
        http = HttpClient()
        try:
            await http.get_json(endpoint, endpoint.url)
        finally:
            await http.close()

    with pytest.raises(ModelError) as raised:
        run(go())
    assert raised.value.error_type == "llm_authentication"
    assert why in raised.value.detail


def test_nobody_looks_further_unasked(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("AWS_PROFILE", "work")
    assert not looks_further({"AWS_PROFILE": "work"})
    assert bedrock_endpoint({"AWS_REGION": "eu-west-1", "AWS_PROFILE": "work"}, "bedrock", "") is None
    with pytest.raises(Invalid, match=CHAIN_NAME):
        looks_further({CHAIN_NAME: "yes"})
    with_keys = {**SETTINGS, "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s"}
    endpoint = bedrock_endpoint(with_keys, "bedrock", "")
    assert endpoint is not None
    assert isinstance(endpoint.sign, AwsSigner), "keys that are given come first"
