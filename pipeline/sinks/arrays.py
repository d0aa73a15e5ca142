"""NPY files in the layouts of IRN, AffinityNet and wsolevaluation, see ``layouts``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import LabelledImage
from pipeline.sinks.layouts import LayoutOptions, write_layout


def write_arrays(images: Iterator[LabelledImage], job: ExportJob, layout: str) -> None:
    """Write a file for each image.

    Args:
        images: Images with maps.
        job: The export.
        layout: ``irn``, ``psa`` or ``wsol``.
    """
    options = LayoutOptions(size=job.config.map_size, tensors=job.config.tensors)
    fold_case = job.names.fold_case
    for one in images:
        name = job.names.below(one.image.image_id)
        records = one.image.records
        write_layout(job.dest, layout, name, records, options, fold_case=fold_case)


def _format(layout: str, read: str, by_stem: bool = True) -> Format:
    write = partial(write_arrays, layout=layout)
    return Format(write, read, boxes=False, may=("none",), by_stem=by_stem)


IRN = _format("irn", 'numpy.load("{to}/ID.npy", allow_pickle=True).item()["high_res"]')
"""As ``step/make_cam.py`` of IRN saves them."""

PSA = _format("psa", 'numpy.load("{to}/ID.npy", allow_pickle=True).item()')
"""As ``infer_cls.py`` of AffinityNet saves them."""

WSOL = _format("wsol", 'numpy.load("{to}/ID.jpg.npy")', by_stem=False)
"""Score maps of wsolevaluation; of several classes the one with the best score."""
