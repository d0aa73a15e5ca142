import io

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.files import Folder
from pipeline.read import read_images
from pipeline.records import OK, RESULT_SCHEMA
from pipeline.sinks import EncodeWorker
from pipeline.sinks.encode import (
    decode_map,
    decode_values,
    encode_map,
    enlarge_map,
    reduce_map,
)
from sess_kernels.errors import SessError


def smooth(height, width, seed=0):
    hills = np.random.default_rng(seed).random((5, 6), np.float32)
    resized = Image.fromarray(hills).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized).clip(0, 1)


def sampled(values, height, width):
    """Bilinear with half-pixel centres, pixel by pixel."""
    rows, columns = values.shape
    found = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            down = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            right = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(down), int(right)
            bottom, beside = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = values[top, left] * (left + 1 - right) + values[top, beside] * (right - left)
            lower = values[bottom, left] * (left + 1 - right)
            lower += values[bottom, beside] * (right - left)
            found[y, x] = upper * (top + 1 - down) + lower * (down - top)
    return found


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_a_stride_both_ways_against_two_references(stride):
    values = smooth(37, 50)
    reduced = reduce_map(values, stride)
    size = -(-37 // stride), -(-50 // stride)
    np.testing.assert_allclose(reduced, sampled(values, *size), atol=1e-6)
    by_opencv = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(reduced, by_opencv, atol=1e-5)
    enlarged = enlarge_map(reduced, (37, 50))
    np.testing.assert_allclose(enlarged, sampled(reduced, 37, 50), atol=1e-6)
    assert np.abs(enlarged - values).mean() < 0.03 * stride


def test_a_stride_keeps_what_is_constant_and_a_map_of_a_pixel():
    for value in (0.0, 0.3, 1.0):
        values = np.full((11, 9), value, np.float32)
        found = enlarge_map(reduce_map(values, 4), (11, 9))
        np.testing.assert_allclose(found, values, atol=1e-7)
        assert found.max() <= 1
    assert reduce_map(np.ones((3, 2), np.float32), 8).tolist() == [[1.0]]
    assert enlarge_map(np.array([[0.5]], np.float32), (1, 1)).tolist() == [[0.5]]


def test_stride_one_is_the_map_itself():
    values = smooth(37, 50)
    assert reduce_map(values, 1) is values
    assert enlarge_map(values, (37, 50)) is values


def test_a_stride_has_the_same_bits_with_any_number_of_threads():
    values = smooth(301, 403)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(enlarge_map(reduce_map(values, 3), (301, 403)))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_png_reads_as_pil_reads_it(dtype):
    values = smooth(21, 34)
    content = encode_map(values, dtype)
    with Image.open(io.BytesIO(content)) as image:
        by_pil = np.asarray(image)
    found = decode_values(content, dtype, (21, 34))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, by_pil)
    whole = np.float32(np.iinfo(dtype).max)
    np.testing.assert_array_equal(decode_map(content, dtype, [21, 34]), by_pil / whole)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_a_broken_map_is_told(dtype):
    content = encode_map(smooth(21, 34), dtype)
    for broken in (content[: len(content) // 2], b"", b"no map"):
        with pytest.raises(SessError, match=f"no {dtype} of 21x34 in {len(broken)} bytes"):
            decode_map(broken, dtype, (21, 34))
    with pytest.raises(SessError, match=rf"no {dtype} of 20x34"):
        decode_map(content, dtype, (20, 34))


def _row(values):
    target = {"class_index": 3, "class_name": "cat", "score": 0.5, "n_kept": 1}
    target |= {"map": {"bytes": values.tobytes(), "path": None}, "map_dtype": "float32"}
    patch = {"scale": 0, "scaled_size": [20, 20], "window": [0, 0, 16, 16], "box": [0, 0, 9, 9]}
    patch |= {"score": 0.5, "map": smooth(16, 16).tobytes(), "map_dtype": "float32"}
    target |= {"map_shape": list(values.shape), "patches": [patch | {"map_shape": [16, 16]}]}
    row = {"row": 0, "image_id": "a", "uri": "/a.png", "height": 37, "width": 50, "n_patches": 1}
    return row | {"status": OK, "error": None, "targets": [target]}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_rows_hold_the_reduced_map_and_readers_enlarge_it(tmp_path, dtype):
    values = smooth(37, 50)
    out = Folder.of(tmp_path)
    encode = EncodeWorker(out, ("parquet", "npy"), dtype, map_stride=4)
    stored = encode(pa.Table.from_pylist([_row(values)], RESULT_SCHEMA))
    [target] = stored.to_pylist()[0]["targets"]
    assert target["map_shape"] == [10, 13]
    reduced = decode_map(target["map"]["bytes"], dtype, [10, 13])
    np.testing.assert_allclose(reduced, reduce_map(values, 4), atol=3e-3)
    npy = np.load(tmp_path / target["map"]["path"])
    np.testing.assert_array_equal(npy, values.astype(npy.dtype))
    [patch] = target["patches"]
    patch_map = decode_map(patch["map"], dtype, patch["map_shape"])
    np.testing.assert_allclose(patch_map, smooth(16, 16), atol=3e-3)

    (tmp_path / "maps").mkdir()
    pa.parquet.write_table(stored, tmp_path / "maps" / "a-0.parquet")
    [image] = read_images(tmp_path)
    assert image.records[0].map.shape == (37, 50)
    np.testing.assert_array_equal(image.records[0].map, enlarge_map(reduced, (37, 50)))
    assert image.records[0].patches[0].map.shape == (16, 16)


def test_stride_one_stores_the_bytes_that_no_stride_does(tmp_path):
    rows = pa.Table.from_pylist([_row(smooth(37, 50))], RESULT_SCHEMA)
    plain = EncodeWorker(Folder.of(tmp_path), ("parquet",), "uint8")(rows)
    assert EncodeWorker(Folder.of(tmp_path), ("parquet",), "uint8", map_stride=1)(rows) == plain
    [target] = plain.to_pylist()[0]["targets"]
    assert target["map_shape"] == [37, 50]
    assert target["map"]["bytes"] == encode_map(smooth(37, 50), "uint8")
