"""What all servers on a database have to agree on."""

from sqlalchemy import Column, Table

from perdure.store.tables.columns import String, metadata

facts = Table("facts", metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False))
