"""Rows of benchmarks as a table in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from jobs.benchmarks.measure import Row


def show(rows: list[Row]) -> None:
    """Print rows: what against what, their ratio, and what figures they have besides."""
    table = Table(title="sess bench", title_justify="left")
    for heading in ("backbone", "what", "against"):
        table.add_column(heading)
    for heading in ("ratio", "quartiles", "ms/patch", "against"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        ratio = row.get("ratio")  # none where there is no rival
        middle = f"{ratio['median']:.3f}" if ratio else ""
        spread = f"{ratio['q1']:.3f} - {ratio['q3']:.3f}" if ratio else ""
        times = [f"{row[name]:.2f}" if name in row else "" for name in _TIMES]
        more = "".join(
            said.format(row[name]) for name, said in _MORE.items() if row.get(name) is not None
        )
        more += "".join(_judged(row, *named) for named in _JUDGED.items())
        table.add_row(
            row["backbone"], row["what"] + more, row.get("against", ""), middle, spread, *times
        )
    console = Console()
    console.width = max(console.width, _WIDTH)  # a file or a pipe has none of its own
    console.print(table)


def _judged(row: Row, key: str, title: str) -> str:
    """A figure of maps, and its difference from a rival with the interval, on a line of its own."""
    if key not in row:
        return ""
    figure = row[key]
    said = f"\n  {title} {figure['value']:.3f}"
    if "difference" in figure:
        said += " ({difference:+.3f}; {low:+.3f} to {high:+.3f})".format(**figure)
    return said


_TIMES = ("ms_per_patch", "against_ms_per_patch")
_MORE = {
    "same_kept_set": " (same patches {:.1%}",
    "same_map": ", same map {:.1%})",
    "share_of_windows": ": {:.1%} of the windows",
    "recall": " hold {:.1%} of the patches to keep",
    "share_of_forwards": " ({:.1%} of the forwards",
    "correlation": ", correlation of maps {0[median]:.3f})",
    "share_of_compiled": ": {0[median]:.3f} of the speed of its compiled passes",
    "sess_images_per_s": ", {0[median]:.1f} images/s",
    "error": ": {}",
    "start_s": " (the other starts in {:.1f} s",
    "pays_from_images": ", pays from {:.0f} images)",
    "rows_per_s": ": {0[median]:,.0f} rows/s",
    "cpu_ms_per_image": ": {0[median]:.2f} ms",
    "images_per_s": ": {:.1f} images/s",
    "cores_used": ", {:.2f} cores used",
    "growth_mb_per_1000_shards": ", growing by {:.1f} MB in 1,000 shards",
    "peak_growth_mb": ", memory grows by {:.0f} MB",
    "peak_mb": " (peak {:.1f} MB)",
    "miou": ": mIoU {:.1%}",
    "background": " at {:.2f}",
    "miou_of_halves": ", {:.1%} chosen on the other half",
    "refine_ms": ", {0[median]:.0f} ms to refine",
    "corloc": ": CorLoc {:.1%}",
    "ap50": ", AP50 {:.1%}",
    "maps_per_s": ": {0[median]:,.0f} maps/s",
    "bytes_per_map": ": {:,.0f} bytes",
    "max_error": ", error up to {:.4f}",
    "mean_error": ", mean {:.5f}",
    "box_iou": ", IoU of boxes {0[mean]:.3f} (5th percentile {0[percentile_5]:.3f})",
    "area_difference": ", areas differ by up to {:.0e}",
    "encode_ms": ", {:.2f} ms to write",
    "decode_ms": ", {:.2f} to read",
}
_JUDGED = {
    "pointing_game": "pointing game",
    "max_box_acc_v2": "MaxBoxAccV2",
    "insertion": "insertion",
    "deletion": "deletion",
    "overall": "overall",
    "mass_inside": "mass inside the boxes",
}
_WIDTH = 150
