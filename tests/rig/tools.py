"""In-process tools a server under test registers through PERDURE_TOOLS."""


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
