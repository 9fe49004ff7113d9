"""A tool of your own, run inside the server: start it with PYTHONPATH=examples PERDURE_TOOLS=trusted_tool:dice."""

import random


def dice(sides: int = 6) -> int:
    """Throws one die.

    Args:
        sides: How many sides it has.
    """
    return random.randint(1, sides)
