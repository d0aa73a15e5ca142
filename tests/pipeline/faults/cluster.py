"""Ray clusters of this machine: started, looked into, ended with all of their processes."""

import os
from contextlib import contextmanager
from pathlib import Path

from ray._private.ray_constants import OBJECT_STORE_MINIMUM_MEMORY_BYTES
from ray.cluster_utils import Cluster

NODE = {"object_store_memory": OBJECT_STORE_MINIMUM_MEMORY_BYTES, "include_dashboard": False}


@contextmanager
def started(**head):
    """A cluster with a head node."""
    os.environ |= {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = Cluster(initialize_head=True, head_node_args=NODE | head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def actors(cluster, stage):
    """Process ids by node of the actors of a stage (``Decode``, ``Saliency``, ...)."""
    raylets = {raylet_of(node): node for node in cluster.list_all_nodes()}
    found = []
    for pid, parent, title in _processes():
        if parent in raylets and title.startswith(f"ray::MapWorker(MapBatches({stage}))"):
            found.append((pid, raylets[parent]))
    return found


def raylet_of(node):
    """Process id of a node's raylet."""
    return node.all_processes["raylet"][0].process.pid


def workers(cluster):
    """Titles of all processes that the cluster's nodes run for jobs."""
    raylets = {raylet_of(node) for node in cluster.list_all_nodes()}
    return [title for _, parent, title in _processes() if parent in raylets]


def descendants(pid):
    """Process ids of all that a process has started, and what they have."""
    children = {}
    for one, parent, _ in _processes():
        children.setdefault(parent, []).append(one)
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def _processes():
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has just ended
            continue
        yield int(folder.name), int(parent), title
