"""A disk that fills up under a run, and has room again."""

import subprocess

import pytest

from faults.runs import SETTINGS, Driver, arguments, rows_of
from pipeline import RunConfig, run

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own, and a call that gives it so many kB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(kilobytes, *, again=True):
        options = f"{'remount,' if again else ''}size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if mount(64, again=False):
        pytest.skip("mounting a tmpfs needs root")
    yield folder, mount
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_full_disk(request, small_disk, source, expected, flags, tmp_path, engine):
    folder, resize = small_disk
    address = request.getfixturevalue("cluster").address if engine == "ray" else None
    targets = [target for row in expected.rows.values() for target in row["targets"]]
    whole = sum(len(target["map"]["bytes"]) for target in targets)
    resize(whole // 1024 // 2 + 64)
    argv = arguments(source, folder / "out", engine, address)
    with Driver(argv, tmp_path / "log") as driver:
        assert driver.wait() == 2, driver.said()
        (said,) = driver.said().splitlines()
    assert f"--out {folder / 'out'} cannot be written: " in said
    assert "No space left on device" in said
    assert said.endswith("make room there or mend it, and give the same command again to go on")
    before = rows_of(folder / "out")
    assert 0 <= len(before) < len(expected.rows)
    resize(4 * whole // 1024 + 4096)
    config = RunConfig(engine=engine, address=address, **SETTINGS)
    summary = run(source, folder / "out", config)
    assert summary.resumed == len(before)
    expected.hold(f"disk full, {engine}", 1, folder / "out")
