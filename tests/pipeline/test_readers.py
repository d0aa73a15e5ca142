"""Programs that read ``OUT/maps/*.parquet`` as it is."""

import io

import duckdb
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import RunConfig, read_maps, run


@pytest.fixture
def out(tmp_path, draw, tiny_backbone):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(draw(70, 90, seed=number)).save(folder / f"{number}.png")
    settings = {
        "engine": "local",
        "labels": "predicted",
        "top_k": 2,
        "scales": 1,
        "window_size": 64,
    }
    run(str(folder), tmp_path / "out", RunConfig(backbone=tiny_backbone, **settings))
    return tmp_path / "out"


def test_duckdb_and_pandas_read_the_maps(out):
    expected = {(one.image_id, one.class_index): one for one in read_maps(out)}
    assert len(expected) == 6
    query = f"""
        select image_id, target.class_index as class, target.score as score,
               target.map.bytes as png, height, width
        from (select *, unnest(targets) as target from '{out}/maps/*.parquet')
        where status = 'ok' order by image_id
    """
    rows = duckdb.sql(query).fetchall()
    assert {(row[0], row[1]) for row in rows} == set(expected)
    frame = pd.read_parquet(out / "maps").explode("targets")
    found = [(row.image_id, row.targets["class_index"]) for row in frame.itertuples()]
    assert set(found) == set(expected)
    stored = {key: row.targets for key, row in zip(found, frame.itertuples(), strict=True)}
    for image_id, index, score, png, height, width in rows:
        one = expected[image_id, index]
        assert score == pytest.approx(one.score)
        assert stored[image_id, index]["map"]["bytes"] == png
        values = np.asarray(Image.open(io.BytesIO(png)))
        assert values.shape == one.map.shape == (height, width)
        assert (values / np.float32(np.iinfo(values.dtype).max) == one.map).all()
