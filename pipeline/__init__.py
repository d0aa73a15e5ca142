"""From image datasets to class saliency maps: sources, plan, stages, engines, sinks."""

from pipeline.config import RunConfig
from pipeline.dataset import SaliencyDataset
from pipeline.read import MapRecord, read_maps
from pipeline.run import plan, retry, run
from pipeline.status import Status, status
from pipeline.summary import Summary

__all__ = [
    "MapRecord",
    "RunConfig",
    "SaliencyDataset",
    "Status",
    "Summary",
    "plan",
    "read_maps",
    "retry",
    "run",
    "status",
]
