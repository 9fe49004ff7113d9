"""Measures a real server process against a model that paces its tokens; figures compare within one run."""
