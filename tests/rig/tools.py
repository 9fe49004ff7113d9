"""In-process tools a server under test registers through PERDURE_TOOLS."""

import time
from pathlib import Path


def weather(city: str) -> str:
    """Tells the weather of a city.

    Args:
        city: Name of the city.
    """
    return f"It is sunny in {city}."


def fail(reason: str) -> str:
    """Fails, always.

    Args:
        reason: What to complain of.
    """
    raise ValueError(reason)


def wait(mark: str) -> str:
    """Ends once a file is there.

    Args:
        mark: Path of the file.
    """
    deadline = time.monotonic() + 30
    while not Path(mark).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return "It is there."


def hang(mark: str) -> str:
    """Begins, and does not end while a test lasts.

    Args:
        mark: Path of the file to make as a sign of having begun.
    """
    Path(mark).touch()
    time.sleep(60)
    return "too late"
