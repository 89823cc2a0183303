"""Inserting many rows with few statements.

Each step of a statement lets go of Python's lock, and must then get it back from a busy reactor
thread; a statement that inserts 64 rows is one step.
"""

from __future__ import annotations

import functools
import sqlite3


def insert(
    db: sqlite3.Connection, table: str, width: int, values: list[object], conflict: str = ""
) -> None:
    """Insert rows.

    Args:
        db: the writing connection, in a transaction.
        table: where.
        width: how many columns the table has.
        values: of all columns of all rows, one after the other; no ``bool``, for which sqlite3
            would seek an adapter each time.
        conflict: what to do about rows that exist, as SQL.
    """
    done, rows = 0, len(values) // width
    for many in (64, 8, 1):
        while rows - done >= many:
            part = values[done * width : (done + many) * width]
            db.execute(_statement(table, width, many, conflict), part)
            done += many


@functools.cache
def _statement(table: str, width: int, many: int, conflict: str) -> str:
    """Make the statement; it is one of a few, so SQLite compiles each once."""
    marks = ",".join(["(" + ",".join("?" * width) + ")"] * many)
    return f"INSERT INTO {table} VALUES {marks} {conflict}"  # noqa: S608 - constants
