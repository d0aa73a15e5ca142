"""From image datasets to class saliency maps: sources, plan, stages, engines, sinks."""

from pipeline.config import RunConfig
from pipeline.read import MapRecord, read_maps
from pipeline.run import run
from pipeline.summary import Summary

__all__ = ["MapRecord", "RunConfig", "Summary", "read_maps", "run"]
