"""Tests that what is written down is true: what the documentation shows is run."""
