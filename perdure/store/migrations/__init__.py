"""Migrations, one file a step, and how they are run. Loaded only when a database is behind."""
