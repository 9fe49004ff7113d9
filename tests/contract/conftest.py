"""Fixtures of the tests that OpenAI's own SDK drives."""

from collections.abc import Callable

import pytest

from tests.contract.told import ADA
from tests.rig.model import Script
from tests.rig.sdks import OPENAI, Client, Sdk
from tests.rig.server import Server


@pytest.fixture
def openai(sdks: Callable[[str], Sdk], server: Server) -> Client:
    return sdks(OPENAI).at(server.base_url)


@pytest.fixture
def agent(server: Server, script: Script) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
