"""How often Ray Data looks at a run.

Its loop waits a tenth of a second for what the workers finish, less if all of them have output that
may not be taken. A look takes milliseconds of a core; a shard takes seconds, and one more waits at
every worker.
"""

from __future__ import annotations

import time
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

_PERIOD_SECONDS = 0.2


class Rest(ExecutionCallback):
    """A pause after a look, unless the look took long: then there is much to hand on."""

    def __init__(self) -> None:
        self._rested = 0.0

    def on_execution_step(self, executor: Any) -> None:
        """Called by Ray Data after each look."""
        time.sleep(max(0.0, self._rested + _PERIOD_SECONDS - time.monotonic()))
        self._rested = time.monotonic()


def rest(context: Any) -> None:
    """Add the pause to the loop of Ray Data, once."""
    others = [one for one in context.custom_execution_callback_classes if one is not Rest]
    context.custom_execution_callback_classes = [*others, Rest]
