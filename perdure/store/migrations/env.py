"""Alembic's entry: runs migrations on the connection that `store/migrate.py` hands over."""

from alembic import context

from perdure.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
