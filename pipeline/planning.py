"""From a source and settings to a plan in OUT, and whether a source is the one that was planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.difference import first_difference
from pipeline.files import Folder
from pipeline.fingerprint import fingerprint
from pipeline.labels import LabelResolver, attach, labelled
from pipeline.layout import PLAN_FOLDER
from pipeline.plan_rows import PlanConfig
from pipeline.scheduler import Plan, write_plan
from pipeline.sinks.layouts import BY_STEM
from pipeline.sources import Listed, first_rows, open_source, read_labels
from pipeline.stages.backbone import without_outputs
from sess_kernels import SESS
from sess_kernels.errors import SessError


@dataclass(frozen=True)
class Dataset:
    """A source with the labels that a run asks for; it can be listed again and again.

    Attributes:
        source: ``KIND:PATH``, or a path whose kind is guessed.
        config: Settings of the run.
    """

    source: str
    config: RunConfig

    def tables(self, listed: Listed | None = None) -> Iterator[pa.Table]:
        """Rows of ``records.SOURCE_SCHEMA``; faults of the source before the first of them.

        Images without a label, and labels that no output of the backbone stands for, are left out
        where labels are asked for.

        Args:
            listed: Is told what is left out, and the classes of the source.

        Raises:
            SessError: If the source cannot be read, lists nothing, or lacks labels.
        """
        listed = Listed() if listed is None else listed
        rows = open_source(self.source, listed)
        first = next(rows, None)
        if first is None or not first.num_rows:
            raise SessError(f"{self.source} lists no image; is it the right one?")
        labels, limit = self.config.labels, self.config.limit
        if labels == "given" and first["labels"].null_count == first.num_rows:
            raise SessError(
                f"{self.source} carries no labels; run with --labels predicted or --labels FILE.csv"
            )
        whole: Iterator[pa.Table] = chain([first], rows)
        if labels not in ("given", "predicted"):
            whole = attach(whole, read_labels(labels), labels, listed)
        if labels != "predicted":
            whole = labelled(whole, without_outputs(self.config.class_groups), listed)
        return whole if limit is None else first_rows(whole, limit)

    def write_plan(self, folder: Folder, explain: SESS) -> Plan:
        """Plan it and write the plan.

        Args:
            folder: Where the plan goes; it should be empty.
            explain: The kernel that the run will use.

        Raises:
            SessError: As ``tables``, and if ids or labels are at fault.
        """
        listed = Listed()
        plan = write_plan(self.tables(listed), folder, plan_config(self.config, explain))
        return replace(plan, listed=listed.to_dict())

    def check_same(self, out: Folder, plan: Plan, explain: SESS) -> None:
        """Refuse a source that is not the one that was planned.

        Raises:
            SessError: With the first difference.
        """
        if fingerprint(self.tables()) == plan.fingerprint:
            return
        resolve = plan_config(self.config, explain).resolve
        found = first_difference(self.tables(), out / PLAN_FOLDER, plan, resolve)
        raise SessError(
            f"{out.uri} holds a run on other data: {found or 'labels are written otherwise'}; "
            "give another --out, or --overwrite"
        )


def plan_config(config: RunConfig, explain: SESS) -> PlanConfig:
    """What a plan depends on, beside the source.

    Args:
        config: Settings of the run.
        explain: The kernel that the run will use.
    """
    backbone = explain.backbone
    predicted = config.labels == "predicted"
    resolve = None if predicted else LabelResolver(backbone.class_names, backbone.name)
    sizes = (backbone.input_size, explain.batch_size)
    by_stem = "npy" in config.formats and config.npy_layout in BY_STEM
    return PlanConfig(config, *sizes, resolve, config.top_k, config.max_pixels, by_stem)
