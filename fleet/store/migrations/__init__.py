"""Alembic migrations; they travel inside the package and are run when the state is opened."""
