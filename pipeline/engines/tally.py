"""What the workers on Ray finish, on its way to the driver, and the driver's word to stop.

It goes through the store of small values that every Ray has. An actor would be one process more,
which wakes a hundred times a second, and what it has been told would die with it.
"""

from __future__ import annotations

import pickle
from uuid import uuid4

from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from pipeline.engines.base import BatchDone

_DONE, _STOP = "done/", "stop"


class Tally:
    """The batches of a run that the driver has not heard of; workers and driver share it."""

    def __init__(self) -> None:
        self._run = f"sess-{uuid4().hex}"

    def add(self, done: BatchDone) -> None:
        """Tell of a batch."""
        _internal_kv_put(_DONE + uuid4().hex, pickle.dumps(done), namespace=self._run)

    def take(self) -> list[BatchDone]:
        """What has been added since the last call."""
        taken = []
        for key in _internal_kv_list(_DONE, namespace=self._run):
            taken.append(pickle.loads(_internal_kv_get(key, namespace=self._run)))
            _internal_kv_del(key, namespace=self._run)
        return taken

    def stop(self, why: str) -> None:
        """Have the workers stop before their next shard."""
        _internal_kv_put(_STOP, why, namespace=self._run)

    def stopped(self) -> str | None:
        """Why the workers are to stop, if they are."""
        why = _internal_kv_get(_STOP, namespace=self._run)
        return why.decode() if why else None

    def end(self) -> None:
        """Leave nothing in the store."""
        for prefix in (_DONE, _STOP):
            _internal_kv_del(prefix, del_by_prefix=True, namespace=self._run)
