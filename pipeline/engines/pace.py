"""How often Ray Data looks at a run.

Its loop waits a tenth of a second for what the workers finish, and not at all while their output
may not be taken: beside a slow sink it would fill a core. A look takes milliseconds, a shard
seconds, and one more waits at every worker.
"""

from __future__ import annotations

import time
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

_REST_SECONDS = 0.1


class Rest(ExecutionCallback):
    """A pause between two looks."""

    def on_execution_step(self, executor: Any) -> None:
        """Called by Ray Data after each."""
        time.sleep(_REST_SECONDS)


def rest(context: Any) -> None:
    """Add the pause to the loop of Ray Data, once."""
    others = [one for one in context.custom_execution_callback_classes if one is not Rest]
    context.custom_execution_callback_classes = [*others, Rest]
