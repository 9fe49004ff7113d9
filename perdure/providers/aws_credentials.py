"""Keys that the AWS command line would find: of profiles, single sign-on, roles of containers and of machines.

Found and renewed by botocore, which the extra `perdure[bedrock]` installs; it is loaded with the first request.
"""

import asyncio
import importlib
import importlib.util
import threading
from collections.abc import Mapping
from typing import Any, Final

from perdure.domain.errors import Invalid, ModelError
from perdure.providers.aws_signing import AwsSigner

CHAIN_NAME: Final = "PERDURE_AWS_CREDENTIALS"
"""The environment variable that allows the search: `chain`. A profile is chosen with AWS_PROFILE, as ever."""
CHAIN: Final = "chain"


def looks_further(environment: Mapping[str, str]) -> bool:
    """Whether the environment allows the search. Raises Invalid for another value, and where botocore is missing."""
    asked = environment.get(CHAIN_NAME, "").strip()
    if asked and asked != CHAIN:
        raise Invalid(f"{CHAIN_NAME} must be {CHAIN!r}, or not set")
    if asked and importlib.util.find_spec("botocore") is None:
        raise Invalid(f"{CHAIN_NAME}={CHAIN} needs botocore: pip install 'perdure[bedrock]'")
    return bool(asked)


class AwsChain:
    """A `Signer` with whatever keys are found when a request is sent; those that expire are renewed before they do."""

    def __init__(self, region: str, service: str) -> None:
        self._region = region
        self._service = service
        self._turn = threading.Lock()
        self._found: Any = None

    async def __call__(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """The headers that sign this request as sent now. Raises ModelError where there are no keys."""
        # A search may ask files, programs and servers, and botocore waits for them.
        keys = await asyncio.to_thread(self._keys)
        signer = AwsSigner(
            key_id=keys.access_key, secret=keys.secret_key, token=keys.token or "", region=self._region,
            service=self._service,
        )  # fmt: skip
        return await signer(method, url, body)

    def _keys(self) -> Any:
        errors = importlib.import_module("botocore.exceptions")
        try:
            with self._turn:
                if self._found is None:
                    self._found = importlib.import_module("botocore.session").get_session().get_credentials()
            if self._found is not None:
                return self._found.get_frozen_credentials()
        except (errors.BotoCoreError, errors.ClientError, OSError) as error:
            raise ModelError("llm_authentication", f"AWS gave no credentials: {error}") from error
        raise ModelError("llm_authentication", "No credentials for AWS were found: neither a profile nor a role.")
