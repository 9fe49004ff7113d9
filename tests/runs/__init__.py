"""Tests of runs, on a real data file."""
