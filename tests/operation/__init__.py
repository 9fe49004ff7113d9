"""Tests of the server as its operator sees it: real processes, real causes."""
