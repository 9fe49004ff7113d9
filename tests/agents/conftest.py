"""Fixtures of this folder."""

from collections.abc import Iterator

import pytest

from tests.agents.studio import Studio
from tests.rig.stores import Place


@pytest.fixture
def studio(place: Place) -> Iterator[Studio]:
    with Studio(place) as studio:
        yield studio
