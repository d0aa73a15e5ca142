"""Broken off anywhere, a commit loses no row and writes none twice."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commit import commit, committed, done_rows, forget_failed, read_committed, recover
from pipeline.files import Folder
from pipeline.records import RESULT_SCHEMA

N = 12


class Broken(Exception):
    """The process is gone."""


@dataclass
class Breaks:
    """Lets so many changes of files happen and breaks off at the next, which may be half done."""

    left: float
    half: bool

    def before(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture
def breaking(monkeypatch):
    """Files of ``Folder`` that change ``left`` times more."""
    breaks = Breaks(float("inf"), half=False)
    monkeypatch.setattr("os.fsync", lambda file: None)
    whole = {name: getattr(Folder, name) for name in ("write", "remove", "rename")}

    def write(self, name, content, *, sync=True):
        if breaks.before():
            if breaks.half:  # as a writer does that does not rename
                path = Path(self.path) / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content[: len(content) // 2])
            raise Broken
        whole["write"](self, name, content, sync=sync)

    def change(kind):
        def changed(self, *names):
            if breaks.before():
                raise Broken
            whole[kind](self, *names)

        return changed

    monkeypatch.setattr(Folder, "write", write)
    for kind in ("remove", "rename"):
        monkeypatch.setattr(Folder, kind, change(kind))

    def broken(call, left, half):
        """Whether a call was broken off."""
        breaks.left, breaks.half = left, half
        try:
            call()
        except Broken:
            return True
        finally:
            breaks.left = float("inf")
        return False

    return broken


def result(row, status="ok"):
    error = None if status == "ok" else "a reason"
    return dict.fromkeys(RESULT_SCHEMA.names) | {
        "row": row,
        "image_id": f"{row}.png",
        "status": status,
        "error": error,
        "n_patches": row,
        "targets": [],
    }


def results(rows, status="ok"):
    return pa.Table.from_pylist([result(row, status) for row in rows], RESULT_SCHEMA)


def rows_in(out):
    return sorted(row for table in read_committed(out, ["row"]) for row in table["row"].to_pylist())


def done_in(out):
    return np.flatnonzero(np.unpackbits(done_rows(out, N))[:N]).tolist()


def check_sound(out):
    """What is committed can be read, is there once, and is what counts as done."""
    assert rows_in(out) == done_in(out)
    names = committed(out)
    assert (out / "maps").names() == names
    assert len((out / "checkpoint").names()) == len(names)


@pytest.mark.parametrize("half", [False, True])
def test_a_broken_commit(tmp_path, breaking, half):
    for left in itertools.count():
        out = Folder.of(tmp_path / f"{left}")
        commit(out, "a", results([0, 1]))
        was_broken = breaking(lambda out=out: commit(out, "b", results([2, 3])), left, half)
        assert rows_in(out) in ([0, 1], [0, 1, 2, 3])  # a reader, before anything is mended
        assert set(done_in(out)) <= set(rows_in(out))
        recover(out)
        check_sound(out)
        assert rows_in(out) == ([0, 1] if was_broken else [0, 1, 2, 3])
        if not was_broken:
            break
        commit(out, "b", results([2, 3]))
        assert rows_in(out) == [0, 1, 2, 3]
    assert left == 3


@pytest.mark.parametrize("half", [False, True])
def test_a_broken_recovery_begins_anew(tmp_path, breaking, half):
    """Every state that a writer of two phases can leave, and every place in its recovery."""
    for state in range(2**3):
        for left in itertools.count():
            out = Folder.of(tmp_path / f"{state}-{left}")
            commit(out, "a", results([0, 1]))
            _leave_behind(out, state, half)
            assert set(rows_in(out)) >= {0, 1}
            was_broken = breaking(lambda out=out: recover(out), left, half)
            recover(out)
            check_sound(out)
            assert rows_in(out) in ([0, 1], [0, 1, 4, 5])
            if not was_broken:
                break


def _leave_behind(out, state, half):
    """Marker, rows and pending marker of another write, each there or not, bit by bit."""
    commit(out, "b", results([4, 5]))
    files = [(out / "checkpoint", "b.parquet"), (out / "maps", "b-0.parquet")]
    for bit, (folder, name) in enumerate(files):
        if not state >> bit & 1:
            folder.remove(name)
    if state & 4:
        content = pa.BufferOutputStream()
        pq.write_table(results([4, 5]).select(["row"]), content)
        whole = content.getvalue().to_pybytes()
        (out / "checkpoint").write("b.pending.parquet", whole[: len(whole) // (1 + half)])


@pytest.mark.parametrize("half", [False, True])
def test_failed_rows_are_forgotten_and_no_others(tmp_path, breaking, half):
    for left in itertools.count():
        out = Folder.of(tmp_path / f"{left}")
        commit(out, "good", results([0, 1]))
        commit(out, "mixed", pa.concat_tables([results([2, 4]), results([3], "failed")]))
        commit(out, "bad", results([5], "failed"))
        was_broken = breaking(lambda out=out: forget_failed(out), left, half)
        assert len(rows_in(out)) == len(set(rows_in(out)))
        recover(out)
        check_sound(out)
        found = set(rows_in(out))
        assert {0, 1} <= found
        if not was_broken:
            assert found == {0, 1, 2, 4}
            break
        forget_failed(out)
        check_sound(out)
        assert {0, 1} <= set(rows_in(out)) <= {0, 1, 2, 4}
    assert left > 5
    assert forget_failed(out) == 0


def test_a_file_of_failed_rows_alone_goes_with_its_marker(tmp_path):
    out = Folder.of(tmp_path)
    commit(out, "bad", results([3, 7], "failed"))
    assert forget_failed(out) == 2
    assert (out / "maps").names() == (out / "checkpoint").names() == []


def test_pending_rows_are_not_read(tmp_path):
    out = Folder.of(tmp_path)
    commit(out, "a", results([0]))
    commit(out, "b", results([1]))
    (out / "checkpoint").rename("b.parquet", "b.pending.parquet")
    assert (rows_in(out), done_in(out)) == ([0], [0])
    (out / "maps").write("b-0.parquet", b"half of a fi")
    assert rows_in(out) == [0]
