"""Where an account of AWS serves models: Bedrock in one of its regions."""

import re
from collections.abc import Mapping
from typing import Final

from perdure.domain.errors import Invalid
from perdure.providers.aws_credentials import AwsChain, looks_further
from perdure.providers.aws_signing import AwsSigner
from perdure.providers.http import Endpoint

REGION_NAMES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
KEY_NAMES: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
TOKEN_NAME: Final = "AWS_SESSION_TOKEN"
BEARER_NAME: Final = "AWS_BEARER_TOKEN_BEDROCK"
"""The environment variable of an API key of Bedrock, which needs no signatures."""

_DOMAINS: Final = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}
"""Of regions that are clouds of their own, by how their names begin."""
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")


def bedrock_endpoint(environment: Mapping[str, str], name: str, root: str) -> Endpoint | None:
    """The endpoint of an account's models, at `root` in place of AWS's own host where that is not empty.

    None unless the environment names a region and a key, or allows that one is looked for. Raises Invalid for values of
    no use.
    """
    region = next((region for each in REGION_NAMES if (region := _value(environment, each))), "")
    bearer = _value(environment, BEARER_NAME)
    key_id, secret = (_value(environment, each) for each in KEY_NAMES)
    searched = looks_further(environment)
    if not region or not (bearer or (key_id and secret) or searched):
        return None
    if not _REGION.fullmatch(region):
        raise Invalid(f"{REGION_NAMES[0]} must be a region of AWS, such as us-east-1")
    url = root or f"https://bedrock-runtime.{region}.{_DOMAINS.get(region.partition('-')[0], 'amazonaws.com')}"
    if bearer:
        return Endpoint(name=name, url=url, headers={"Authorization": f"Bearer {bearer}"}, key=bearer)
    if not (key_id and secret):
        return Endpoint(name=name, url=url, sign=AwsChain(region, "bedrock"))
    token = _value(environment, TOKEN_NAME)
    signer = AwsSigner(key_id=key_id, secret=secret, token=token, region=region, service="bedrock")
    return Endpoint(name=name, url=url, key=secret, sign=signer)


def _value(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not (value.isascii() and value.isprintable()):
        raise Invalid(f"{name} holds characters that cannot be part of it")
    return value
