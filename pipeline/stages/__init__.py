"""Stages: plain callables ``table in -> table out`` that know nothing of the engine."""

from pipeline.stages.backbone import BackboneSpec
from pipeline.stages.decode import DecodeWorker
from pipeline.stages.saliency import SaliencyWorker

__all__ = ["BackboneSpec", "DecodeWorker", "SaliencyWorker"]
