"""Bringing the schema up to date with Alembic. Import late: most starts find nothing to do."""

import secrets
import string
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from smarttrade.adapters.storage.database import INSTANCE, read_meta, write_meta

INSTANCE_LENGTH: Final = 4


def configuration() -> Config:
    """Alembic's, for the migrations inside this package."""
    config = Config()
    config.set_main_option("script_location", "smarttrade.adapters.storage:migrations")
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Migrate within the transaction of `connection`, which has locked out every other process: all of it, or nothing.

    A new database gets its `instance`: four letters that tell apart the orders of two installations that trade on the
    same exchange account.
    """
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    if read_meta(connection, INSTANCE) is None:
        letters = (secrets.choice(string.ascii_lowercase) for _ in range(INSTANCE_LENGTH))
        write_meta(connection, INSTANCE, "".join(letters))
