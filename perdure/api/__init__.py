"""HTTP, thin: parse, call, encode. `routes.py` shows every operation on one page."""
