import subprocess
import sys

import pyarrow as pa
import pytest

from pipeline.files import Folder
from pipeline.journal import Journal


class Died(BaseException):
    """Stands for the end of the process: nothing behind it runs."""


class Doubles:
    """A stage that doubles rows; rows of ``deadly`` end its process."""

    def __init__(self, deadly=()):
        self.deadly = set(deadly)
        self.calls = []

    def __call__(self, rows):
        numbers = rows["row"].to_pylist()
        self.calls.append(numbers)
        if self.deadly & set(numbers):
            raise Died
        return pa.table({"row": rows["row"], "value": [str(2 * number) for number in numbers]})

    def failed(self, rows, reason):
        return pa.table({"row": rows["row"], "value": [reason] * rows.num_rows})


def table(*rows):
    return pa.table({"row": pa.array(rows, pa.int64())})


@pytest.fixture
def out(tmp_path):
    return Folder.of(tmp_path)


def marks(out):
    return {name: (out / "journal").read(name) for name in (out / "journal").names()}


def dies(journal, stage, rows):
    with pytest.raises(Died):
        journal.run(stage, rows)


def test_a_mark_is_there_while_a_batch_runs_and_not_behind_it(out):
    journal, seen = Journal(out, "decode"), []

    class Looks(Doubles):
        def __call__(self, rows):
            seen.append(marks(out))
            return super().__call__(rows)

    found = journal.run(Looks(), table(4, 5))
    assert found["value"].to_pylist() == ["8", "10"]
    assert seen == [{"decode-from-4": b"1"}]
    assert marks(out) == {}


def test_a_batch_that_killed_its_worker_goes_row_by_row(out):
    journal = Journal(out, "decode")
    dies(journal, Doubles({5}), table(4, 5, 6))
    assert marks(out) == {"decode-from-4": b"1"}
    harmless = Doubles()
    assert journal.run(harmless, table(4, 5, 6))["value"].to_pylist() == ["8", "10", "12"]
    assert harmless.calls == [[4], [5], [6]]
    assert marks(out) == {}
    journal.run(harmless, table(4, 5, 6))
    assert harmless.calls[3:] == [[4, 5, 6]]


def test_two_deaths_on_a_row_put_it_aside(out):
    journal, stage = Journal(out, "saliency"), Doubles({5})
    for calls in ([[4, 5, 6]], [[4], [5]], [[4], [5]]):
        stage.calls = []
        dies(journal, stage, table(4, 5, 6))
        assert stage.calls == calls
    stage.calls = []
    found = journal.run(stage, table(4, 5, 6))
    assert stage.calls == [[4], [6]]
    assert found["value"].to_pylist() == [
        "8",
        "its worker (saliency) died on it 2 times; mend the cause, then run `sess retry`",
        "12",
    ]
    assert marks(out) == {"saliency-row-5": b"2"}


def test_stages_and_shards_have_marks_of_their_own(out):
    dies(Journal(out, "decode"), Doubles({5}), table(4, 5))
    other = Doubles()
    Journal(out, "encode").run(other, table(4, 5))
    Journal(out, "decode").run(other, table(6, 7))
    assert other.calls == [[4, 5], [6, 7]]
    assert marks(out) == {"decode-from-4": b"1"}


def test_no_rows_need_no_mark(out):
    assert Journal(out, "decode").run(lambda rows: rows, table()).num_rows == 0
    assert marks(out) == {}


HANGS = """
import time, sys
import pyarrow as pa
from pipeline.files import Folder
from pipeline.journal import Journal

class Hangs:
    def __call__(self, rows):
        time.sleep(0 if sys.argv[2] == "quick" else 60)
        return rows

rows = pa.table({"row": [3]})
journal = Journal(Folder.of(sys.argv[1]), "decode", timeout=0.5)
for _ in range(3):
    journal.run(Hangs(), rows)
time.sleep(0.7)  # a deadline of a batch that has ended is none
"""


@pytest.mark.parametrize(("speed", "code"), [("quick", 0), ("hangs", 1)])
def test_a_batch_that_hangs_ends_its_process(out, speed, code):
    ended = subprocess.run([sys.executable, "-c", HANGS, out.uri, speed], timeout=60)
    assert ended.returncode == code
    assert marks(out) == ({} if speed == "quick" else {"decode-from-3": b"1"})
