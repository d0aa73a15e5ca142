"""A node of a cluster that goes away in the middle of a run."""

import threading

import pytest

from faults.cluster import NODE, actors, raylet_of, started
from faults.runs import SETTINGS, until
from faults.stages import SlowDecode
from pipeline import RunConfig, run
from pipeline.commit import committed
from pipeline.files import Folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head(flags):
    with started(num_cpus=1, num_gpus=1) as cluster:
        yield cluster


@pytest.fixture
def nodes(head):
    """Two nodes beside that of the driver."""
    added = [head.add_node(**NODE, num_cpus=1, num_gpus=1) for _ in range(2)]
    yield added
    for node in added:
        if node in head.list_all_nodes():
            head.remove_node(node, allow_graceful=False)


@pytest.mark.parametrize("topology", ["fused", "split"])
def test_a_node_goes_away(head, nodes, source, expected, flags, tmp_path, monkeypatch, topology):
    monkeypatch.setattr("pipeline.engines.lines.DecodeWorker", SlowDecode)
    flags.set("slow", 0.02)
    out, hit = tmp_path / "out", []

    def remove():
        until(lambda: committed(Folder.of(out)) or hit)
        busy = {raylet_of(node) for _, node in actors(head, "Saliency")}
        node = next((one for one in nodes if raylet_of(one) in busy), nodes[0])
        head.remove_node(node, allow_graceful=False)
        hit.append(node)

    thread = threading.Thread(target=remove)
    thread.start()
    config = {"engine": "ray", "address": head.address, "topology": topology}
    workers = 2 if topology == "fused" else 1  # a place is left for what the node held
    config |= {"gpus_per_worker": 1.0, "workers": workers, "pre_filter_workers": 1}
    try:
        run(source, out, RunConfig(**SETTINGS | config))
    finally:
        hit.append(None)
        thread.join()
    assert hit[0] in nodes  # it went while the run went on
    expected.hold(f"node removed, {topology}", 1, out)
