"""Run the migrations on the connection that the opener hands over; its transaction covers all of them."""

from alembic import context

from fleet.store.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=False)
context.run_migrations()
