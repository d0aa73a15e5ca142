"""Stages: plain callables ``table in -> table out`` that know nothing of the engine."""

from pipeline.stages.decode import DecodeWorker
from pipeline.stages.saliency import BackboneSpec, SaliencyWorker

__all__ = ["BackboneSpec", "DecodeWorker", "SaliencyWorker"]
