"""Text from outside, made fit to be stored and shown."""

REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """`text` with the halves of surrogate pairs joined, and lone surrogates and NUL replaced by U+FFFD."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", REPLACEMENT)


def is_storable(text: str) -> bool:
    """Whether `storable` would leave `text` as it is."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
