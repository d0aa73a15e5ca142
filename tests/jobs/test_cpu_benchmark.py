"""The benchmark of how cores are used: real workers, told apart by what they are given."""

import multiprocessing
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from jobs.benchmarks import BENCHMARKS, Setting
from jobs.benchmarks import cpu as layouts
from jobs.benchmarks.cpu import Layout


def test_layouts_are_compared_with_the_usual_one(monkeypatch):
    ran = []
    monkeypatch.setattr(layouts, "_BATCHES", (2,))
    monkeypatch.setattr(layouts, "_HUGE_PAGES", {"huge pages": {"THP_MEM_ALLOC_ENABLE": "1"}})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(layouts, "_workers", lambda _, layout: nullcontext(layout))
    monkeypatch.setattr(layouts, "_run", lambda layout, n: ran.append((layout, n)))
    rows = list(BENCHMARKS["cpu"](Setting("timm/test_resnet", repeats=1)))
    assert [row["what"] for row in rows] == [
        "forwards, 1 worker of 2 threads, batches of 4",
        "forwards, 2 workers of 1 thread, batches of 2",
        "forwards, 2 workers of 1 thread, batches of 4, huge pages",
    ]
    assert {row["against"] for row in rows} == {"2 workers of 1 thread, batches of 4"}
    assert {row["ratio"]["n"] for row in rows} == {1}
    assert {n for _, n in ran} == {2 * 48}
    assert len(ran) == 3 * 2 * 2  # a round to warm up, and one
    usual = Layout(2, 1, 4)
    assert [layout for layout, _ in ran[1::2]] == [usual] * 6
    assert ran[-2][0].environ == {"THP_MEM_ALLOC_ENABLE": "1"}


def test_workers_run_what_they_are_told_and_end(monkeypatch):
    layout = Layout(1, 1, 2, {"THP_MEM_ALLOC_ENABLE": "1"})
    with layouts._workers(Setting("timm/test_resnet"), layout) as workers:
        [child] = multiprocessing.active_children()
        environ = Path(f"/proc/{child.pid}/environ").read_text().split("\0")
        layouts._run(workers, 4)
        layouts._run(workers, 2)
    assert "THP_MEM_ALLOC_ENABLE=1" in environ
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ
    assert child.exitcode == 0


def test_workers_have_their_environment_and_threads():
    class Told:
        def __init__(self):
            self.said, self.left = [], [4]

        def send(self, what):
            self.said.append(what)

        def recv(self):
            if not self.left:
                raise EOFError
            return self.left.pop()

    told = Told()
    layouts._work(told, Setting("timm/test_resnet"), Layout(1, 1, 4))
    assert told.said == [None, None]  # ready, done
    assert torch.get_num_threads() == 1
    with layouts._environ({"SESS_TEST": "1", "PATH": "/"}):
        assert (os.environ["SESS_TEST"], os.environ["PATH"]) == ("1", "/")
    assert "SESS_TEST" not in os.environ
    assert os.environ["PATH"] != "/"


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout(1, 2, 3), "1 worker of 2 threads, batches of 3"),
        (Layout(2, 1, 4, {}, "on fire"), "2 workers of 1 thread, batches of 4, on fire"),
    ],
)
def test_a_layout_says_what_it_is(layout, said):
    assert str(layout) == said
