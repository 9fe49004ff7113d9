"""Names for agents whose makers give none."""

import random
from typing import Final

_FIRST: Final = (
    "Amber", "Autumn", "Bright", "Calm", "Cedar", "Clever", "Coral", "Dawn", "Eager", "Early", "Gentle", "Golden",
    "Hazel", "Honest", "Indigo", "Ivory", "Jolly", "Keen", "Kind", "Lively", "Lunar", "Maple", "Merry", "Mild",
    "Nimble", "Olive", "Patient", "Placid", "Quick", "Quiet", "Russet", "Sage", "Silver", "Steady", "Sunny", "Tidy",
    "Velvet", "Warm", "Willow", "Witty",
)  # fmt: skip
_SECOND: Final = (
    "Badger", "Beacon", "Brook", "Comet", "Crane", "Falcon", "Fern", "Finch", "Fox", "Garden", "Harbor", "Hare",
    "Heron", "Island", "Juniper", "Kestrel", "Lantern", "Lark", "Lynx", "Marten", "Meadow", "Mill", "Orchard", "Otter",
    "Owl", "Pebble", "Pine", "Plover", "River", "Robin", "Sparrow", "Spruce", "Starling", "Stone", "Swallow", "Swan",
    "Thistle", "Valley", "Willet", "Wren",
)  # fmt: skip


def random_name() -> str:
    """A pleasant name, such as `QuietHeron`. Not unique: nothing requires that of a name."""
    return random.choice(_FIRST) + random.choice(_SECOND)
