"""The public contract, checked with the real clients against a real server."""
