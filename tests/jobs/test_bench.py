import pyarrow.parquet as pq

from jobs.benchmarks import Setting
from jobs.benchmarks.plan import _measure, _write_table
from jobs.benchmarks.table import show
from pipeline.sources import open_source


def test_the_table_that_is_planned(tmp_path):
    path = tmp_path / "table.parquet"
    _write_table(path, 2500)
    [table] = open_source(str(path))
    assert table.num_rows == 2500
    assert table["height"].null_count == table["labels"].null_count == 0
    seconds, before, after = _measure(path, tmp_path / "out", Setting(rows=2500))
    assert seconds > 0
    assert 1e7 < before <= after
    [file] = (tmp_path / "out" / "plan").iterdir()
    assert pq.read_table(file)["image_id"].to_pylist() == [f"{n:010d}" for n in range(2500)]


def test_figures_without_a_rival_are_shown(capsys):
    row = {"backbone": "any", "what": "plan", "rows_per_s": {"median": 1.5e6}}
    show([row | {"peak_growth_mb": 85.2, "peak_mb": 845.3}])
    assert (
        "plan: 1,500,000 rows/s, memory grows by 85 MB (peak 845.3 MB)" in capsys.readouterr().out
    )
