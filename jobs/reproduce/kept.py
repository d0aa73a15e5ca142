"""Results of cases, kept so that what is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from jobs.reproduce.cases import Case, Row
from pipeline.files import Folder
from sess_kernels.errors import SessError

Found = Mapping[str, Mapping[str, Any]]
"""What a case found, by the name of the variant: ``figures`` and counts."""

_CASES = "cases"


def rows_of(case: Case, name: str, out: Folder, find: Callable[[], Found]) -> list[Row]:
    """The rows of a case, found now or earlier.

    What a method cannot do, or lacks a package or weights for, is a row with the reason, and is
    tried again the next time.

    Args:
        case: The case.
        name: Of all that its figures depend on.
        out: Folder of the results.
        find: Finds them.
    """
    file = f"{case.experiment.name}-{name}.json"
    folder = out / _CASES
    try:
        if folder.exists(file):
            found = folder.read_json(file)
        else:
            found = find()
            folder.create()
            folder.write(file, json.dumps(found, indent=1).encode() + b"\n")
    except SessError as error:
        return [case.failed(error)]
    return [case.row(variant, **told) for variant, told in found.items()]
