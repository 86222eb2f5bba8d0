"""A channel with a thread at its other end."""

import pytest

from tests.unit.measure.peer import Peer


@pytest.fixture
def peer():
    made = Peer()
    yield made
    made.close()
