"""The life of a run: accepted, worked, followed, ended."""
