"""JSON in ASCII, for frames: a multi-byte character split over two packets corrupts an npm 0.1.x stream."""

import json


def ascii_json(value: object) -> str:
    """Compact JSON in which everything beyond ASCII is escaped. NaN and infinities are refused with ValueError."""
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)
