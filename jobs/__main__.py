"""``python -m jobs`` is ``sess``."""

from jobs.cli import entry

if __name__ == "__main__":
    entry()
