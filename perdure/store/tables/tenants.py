"""Tenants, who own everything else."""

from sqlalchemy import Column, Table

from perdure.store.tables.columns import String, id_column, metadata, times

tenants = Table("tenants", metadata, id_column(), Column("name", String, nullable=False), *times())
