"""Streams of tables: work done a few tables ahead, and tables of equal length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

A = TypeVar("A")
B = TypeVar("B")


def ahead(call: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """``map(call, items)`` with ``workers`` threads that are at most one item each ahead.

    Example:
        >>> list(ahead(lambda number: number**2, range(5), workers=2))
        [0, 1, 4, 9, 16]
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[B]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def equal_tables(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of ``rows`` rows, the last one shorter; none is empty.

    Example:
        >>> tables = [pa.table({"row": [0, 1, 2]}), pa.table({"row": [3, 4]})]
        >>> [table["row"].to_pylist() for table in equal_tables(tables, 2)]
        [[0, 1], [2, 3], [4]]
    """
    held: list[pa.Table] = []
    n_held = 0
    for table in tables:
        held.append(table)
        n_held += table.num_rows
        while n_held >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows).combine_chunks()
            held, n_held = [whole.slice(rows)], n_held - rows
    if n_held:
        yield pa.concat_tables(held).combine_chunks()
