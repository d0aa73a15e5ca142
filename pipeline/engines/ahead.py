"""How many shards may wait for a worker: so many, however long the plan is.

Ray Data holds operators back by the bytes of their blocks in the object store. Small blocks, those
of the plan and of images that failed, it keeps in the memory of the driver instead: without a limit
to their number it would read all of the plan, and explain all of it before a slow sink.
"""

from __future__ import annotations

from typing import Any

from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)

_SHARDS = 256  # that wait for a worker; more than are taken between two looks at them


class ShardsAhead(BackpressurePolicy):
    """Holds back what reads the plan, and every stage, while enough shards wait behind it."""

    def can_add_input(self, op: Any) -> bool:
        """Whether one more shard, or file of the plan, may be begun."""
        return not self._has_enough(op)

    def max_task_output_bytes_to_read(self, op: Any) -> int | None:
        """0 while enough shards wait, else no limit."""
        return 0 if self._has_enough(op) else None

    def _has_enough(self, op: Any) -> bool:
        *stages, _ = self._topology  # behind the last one nothing waits: it writes
        return op in stages and self._topology[op].total_enqueued_output_blocks() >= _SHARDS


def hold_back(context: Any) -> None:
    """Add the limit to those of Ray Data."""
    policies = [*ENABLED_BACKPRESSURE_POLICIES, ShardsAhead]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)
