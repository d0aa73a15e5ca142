"""Stages: plain callables ``table in -> table out`` that know nothing of the engine."""

from pipeline.stages.backbone import BackboneSpec
from pipeline.stages.decode import DecodeWorker
from pipeline.stages.kernel import kernel
from pipeline.stages.prefilter import PreFilterWorker
from pipeline.stages.saliency import SaliencyWorker

__all__ = ["BackboneSpec", "DecodeWorker", "PreFilterWorker", "SaliencyWorker", "kernel"]
