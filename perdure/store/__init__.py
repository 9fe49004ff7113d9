"""How things are kept: tables, and for each resource the plain functions `fn(conn, …)` that read and write it."""
