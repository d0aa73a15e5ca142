"""Faults of the local engine, whose one process is the driver too."""

import random
import signal

import pytest

from faults.runs import SETTINGS, Driver, arguments, kill_at, retried, rows_of, until
from pipeline import RunConfig, run

pytestmark = pytest.mark.slow
MOMENTS = [("start", 0.6), ("lease", 0.4), ("work", 0.3), ("write", 0.02), ("commit+2", 0.2)]
MARKED = "031.png"


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_driver_goes_on_where_it_was(source, expected, flags, tmp_path, seed):
    flags.set("slow", 0.01)
    rng = random.Random(seed)
    moments = MOMENTS[:2] + rng.sample(MOMENTS[2:], 3)
    out, log = tmp_path / "out", tmp_path / "log"
    argv = arguments(source, out, "local")
    killed = kill_at(moments, argv, out, log, rng)
    assert killed == len(moments)
    flags.clear()
    summary = run(source, out, RunConfig(engine="local", **SETTINGS))
    assert summary.resumed > 0
    expected.hold("driver killed, local", killed, out)


def test_a_row_that_kills_the_process_is_put_aside_and_retried(source, expected, flags, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    argv = arguments(source, out, "local")
    flags.set("die")
    deaths = 0
    while True:
        with Driver(argv, log) as driver:
            code = driver.wait()
        if code != -signal.SIGKILL:
            break
        deaths += 1
    assert (code, deaths) == (1, 3)
    reasons = expected.hold("image kills its process, local", deaths, out, failed={MARKED})
    assert "its worker (saliency) died on it 2 times" in reasons[MARKED]
    flags.clear()
    retried(out, expected)


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_device_without_memory(source, expected, flags, tmp_path, for_ever):
    out = tmp_path / "out"
    for i in range(3):
        flags.set(f"memory-{i}")
    if for_ever:
        flags.set("memory")
    run(source, out, RunConfig(engine="local", **SETTINGS))
    assert flags.count("memory-") == 0
    failed = {MARKED} if for_ever else set()
    fault = "no device memory, " + ("for ever for an image" if for_ever else "three times")
    reasons = expected.hold(f"{fault}, local", 3 + for_ever, out, failed)
    assert all("out of memory" in reason for reason in reasons.values())


@pytest.mark.parametrize("to_main_thread", [True, False])
def test_an_interrupted_run_says_how_to_go_on(source, expected, flags, tmp_path, to_main_thread):
    out, log = tmp_path / "out", tmp_path / "log"
    flags.set("slow", 0.03)
    argv = arguments(source, out, "local")
    with Driver(argv, log) as driver:
        until(lambda: not driver.alive or len(list(out.glob("maps/*.parquet"))) > 1)
        before = len(rows_of(out))
        driver.signal_thread(signal.SIGINT, to_main_thread)
        assert driver.wait(10) == 130
        said = driver.said()
    assert "interrupted" in said
    assert "same command again" in said
    assert before < len(rows_of(out)) < len(expected.rows)  # what was under way is kept
    flags.clear()
    with Driver(argv, log) as driver:
        assert driver.wait() == 0, driver.said()
    thread = "main" if to_main_thread else "another"
    expected.hold(f"interrupted in {thread} thread, local", 1, out)


def test_a_second_driver_is_refused_while_the_first_lives(source, expected, flags, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    argv = arguments(source, out, "local")
    flags.set("slow", 0.05)
    with Driver(argv, log) as first:
        until(lambda: not first.alive or (out / "maps").exists())
        with Driver(argv, tmp_path / "second") as second:
            assert second.wait() == 2
            assert f"(process {first.pid})" in second.said()
            assert "wait for its end" in second.said()
        assert first.alive, first.said()
        first.signal(signal.SIGKILL)
        first.wait()
    flags.clear()
    with Driver(argv, log) as third:  # at once: on the same host a process is seen to be gone
        assert third.wait() == 0, third.said()
    expected.hold("a second driver, then the first killed, local", 1, out)


def test_a_run_that_fails_wholesale_is_stopped(broken, expected, flags, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    with Driver(arguments(broken, out, "local", max_errors=8), log) as driver:
        assert driver.wait() == 2
        assert "rows failed, more than --max-errors 8; see `sess status`" in driver.said()
        assert len(driver.said().splitlines()) == 1
    assert 8 < len(rows_of(out)) < 2 * len(expected.rows)
    with Driver(arguments(broken, out, "local", max_errors=60), log) as driver:
        assert driver.wait() == 1, driver.said()
    rows = rows_of(out)
    assert {name for name, row in rows.items() if row["status"] != "ok"} == {
        f"bad-{i}" for i in range(len(expected.rows))
    }
    number = {name: {"row": row["row"]} for name, row in expected.rows.items()}
    assert all(rows[name] | number[name] == row for name, row in expected.rows.items())
