"""Alembic's entry: run the migrations in the transaction that the caller has begun."""

from alembic import context

from smarttrade.adapters.storage import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
    transactional_ddl=True,  # SQLite can; Alembic doubts it because the driver's own transactions could not
)
with context.begin_transaction():
    context.run_migrations()
