"""``python -m jobs`` is ``sess``; where its command line lacks a package, ``bench`` alone."""

from __future__ import annotations

import sys


def entry() -> None:
    """Run ``sess`` as a process, or what of it can be run here."""
    try:
        from jobs.cli import entry as whole
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("jobs", "pipeline", "sess_kernels"):
            raise  # no package, a fault of ours
        from jobs.bare import main

        sys.exit(main(sys.argv[1:], missing=error.name or str(error)))
    whole()


if __name__ == "__main__":
    entry()
