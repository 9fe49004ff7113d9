"""What runs in a job's own process, on the way into its jail and in it. Imports the standard library and this folder.

A start counts in milliseconds here, so what costs much to import is left out, `typing` too.
"""
