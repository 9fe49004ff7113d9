"""A self-hosted server for agents that remember."""

__version__ = "0.1.0"
