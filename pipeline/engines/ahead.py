"""How far the plan is read ahead of the workers: a few shards, however long it is.

Ray Data holds operators back by the bytes of their blocks in the object store. Shards of the plan
are small, so Ray keeps them in the memory of the driver: without a limit it would read all of them.
"""

from __future__ import annotations

from typing import Any

from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)
from ray.data._internal.execution.operators.input_data_buffer import InputDataBuffer

_SHARDS = 256  # that wait for a decode worker; more than are taken between two looks at them
_READERS = 2  # files of the plan that are open; each reader is a process


class PlanAhead(BackpressurePolicy):
    """Holds back what reads the plan while enough shards wait."""

    def can_add_input(self, op: Any) -> bool:
        """Whether one more file may be opened."""
        return not _reads(op) or (op.num_active_tasks() < _READERS and not self._has_enough(op))

    def max_task_output_bytes_to_read(self, op: Any) -> int | None:
        """0 while enough shards wait, else no limit."""
        return 0 if _reads(op) and self._has_enough(op) else None

    def _has_enough(self, op: Any) -> bool:
        return bool(self._topology[op].total_enqueued_output_blocks() >= _SHARDS)


def hold_back(context: Any) -> None:
    """Add the limit to those of Ray Data."""
    policies = [*ENABLED_BACKPRESSURE_POLICIES, PlanAhead]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)


def _reads(op: Any) -> bool:
    return any(isinstance(one, InputDataBuffer) for one in op.input_dependencies)
