import os
import platform
import subprocess
import sys

import pytest

from sess_kernels import SESS
from sess_kernels.memory import keep_freed_memory

_FAULTS = """
import resource
import sys
import threading
import torch
from sess_kernels.memory import keep_freed_memory

def batch():
    for freed_first in (-1, 0):
        blocks = [torch.ones(10 * 2**20, dtype=torch.uint8) for _ in range(14)]
        while blocks:
            blocks.pop(freed_first)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def count():
    for _ in range(10):  # until the heap has found its shape
        batch()
    before = faults()
    for _ in range(10):
        batch()
    print(faults() - before)

assert keep_freed_memory()
if sys.argv[1:]:
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
else:
    count()
"""

_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")


def _run(code, *arguments, **environment):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    plain.pop("GLIBC_TUNABLES", None)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@_glibc
@pytest.mark.parametrize("thread", [[], ["in a thread"]])  # which has heaps of its own
def test_what_a_batch_frees_is_not_given_back(thread):
    allocated = 10 * 280 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    assert int(_run(_FAULTS, *thread)) < allocated // 50


@_glibc
def test_the_environment_has_the_last_word():
    code = "from sess_kernels.memory import keep_freed_memory; print(keep_freed_memory())"
    assert _run(code) == "True"
    assert _run(code, MALLOC_TRIM_THRESHOLD_="1000000") == "False"
    assert _run(code, MALLOC_TOP_PAD_="0") == "False"
    assert _run(code, GLIBC_TUNABLES="glibc.malloc.trim_threshold=1000000") == "False"


def test_sess_on_a_cpu_keeps_it(lite0):
    keep_freed_memory.cache_clear()
    SESS(lite0)
    assert keep_freed_memory.cache_info().currsize == 1
