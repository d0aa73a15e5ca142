import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.images import image_size, read_rgb
from pipeline.members import (
    ParquetRow,
    RowReader,
    TarRange,
    member_of,
    open_image,
    read_image_bytes,
    read_many,
    together,
)
from pipeline.parquet_cells import _Pass
from pipeline.records import PLAN_SCHEMA, SOURCE_SCHEMA
from pipeline.sizes import with_sizes
from pipeline.stages import DecodeWorker


@pytest.fixture
def photos(draw):
    """Encoded images of different sizes, by number."""
    found = []
    for number in range(40):
        buffer = io.BytesIO()
        kind = ("PNG", "JPEG", "WEBP")[number % 3]
        Image.fromarray(draw(20 + number, 30, seed=number)).save(buffer, kind)
        found.append(buffer.getvalue())
    return found


@pytest.fixture
def table(photos, tmp_path):
    """A Parquet file of them in row groups of 15."""
    path = tmp_path / "t.parquet"
    columns = {"image": pa.array(photos, pa.large_binary()), "image.x": list(range(40))}
    pq.write_table(pa.table(columns), path, row_group_size=15)
    return path


@pytest.fixture
def passes(monkeypatch):
    """Row groups that are begun."""
    begun, make = [], _Pass.__init__

    def counted(self, table, group, *more):
        begun.append(group)
        make(self, table, group, *more)

    monkeypatch.setattr(_Pass, "__init__", counted)
    return begun


def rows(path, numbers, column="image"):
    return [ParquetRow(str(path), number, column).uri for number in numbers]


@pytest.mark.parametrize(
    ("uri", "member"),
    [
        ("s3://b/a.tar#bytes=512-611", TarRange("s3://b/a.tar", 512, 100)),
        ("/a#b/c.TAR#bytes=0-9", TarRange("/a#b/c.TAR", 0, 10)),
        ("/a.parquet#row=7", ParquetRow("/a.parquet", 7, "image")),
        ("/a.parquet#row=7&column=a&b#c.d", ParquetRow("/a.parquet", 7, "a&b#c.d")),
        ("/a\nb.parquet#row=0", ParquetRow("/a\nb.parquet", 0)),
        ("/a.jpg#row=7", None),
        ("/a.parquet#row=7.jpg", None),
        ("/a.parquet#row=-1", None),
        ("/a.tar#row=7", None),
        ("/a.tar.gz#bytes=0-9", None),
        ("/a.parquet#row=" + "9" * 5000, None),
    ],
)
def test_uris(uri, member):
    assert member_of(uri) == member
    if member is not None:
        assert member_of(member.uri) == member


def test_an_image_in_a_tar_is_read_as_a_file_is(photos, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, content in enumerate(photos):
            (tmp_path / f"{number}.jpg").write_bytes(content)
            tar.add(tmp_path / f"{number}.jpg", f"{number}.jpg")
    with tarfile.open(tmp_path / "a.tar") as tar:
        for number, one in enumerate(tar):
            uri = TarRange(str(tmp_path / "a.tar"), one.offset_data, one.size).uri
            file = str(tmp_path / one.name)
            assert read_image_bytes(uri) == photos[number]
            assert image_size(uri) == image_size(file) == (20 + number, 30)
            np.testing.assert_array_equal(read_rgb(uri), read_rgb(file))
            with open_image(uri) as part:  # never a byte of what lies behind
                assert part.read_at(10**6, 5) == photos[number][5:]


def test_rows_of_any_column_of_bytes(photos, table, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "2.webp").write_bytes(photos[2])
    structs = [{"bytes": photos[0], "path": "none.png"}, {"bytes": None, "path": "sub/2.webp"}]
    structs.append({"bytes": None, "path": str(tmp_path / "sub" / "2.webp")})
    pq.write_table(pa.table({"im&g": structs}), tmp_path / "s.parquet")
    uris = rows(tmp_path / "s.parquet", range(3), "im&g") + rows(table, [4])
    expected = [photos[0], photos[2], photos[2], photos[4]]
    assert list(read_many(uris)) == [read_image_bytes(uri) for uri in uris] == expected
    assert [image_size(uri) for uri in uris] == [(20, 30), (22, 30), (22, 30), (24, 30)]


def test_each_row_group_is_read_once(photos, table, passes, tmp_path):
    file = tmp_path / "0.png"
    file.write_bytes(photos[0])
    wanted = [*range(3, 14), 17, *range(31, 40)]
    with RowReader() as reader:  # in several calls, other images between them
        parts = [wanted[start : start + 4] for start in range(0, len(wanted), 4)]
        found = [one for part in parts for one in reader.read_many([*rows(table, part), str(file)])]
    images = [one for one in found if one != photos[0]]
    assert images == [photos[number] for number in wanted]
    assert found.count(photos[0]) == len(parts)
    assert passes == [0, 1, 2]


def test_rows_in_any_order(photos, table, passes):
    order = np.random.default_rng(0).permutation(40).tolist()
    assert list(read_many(rows(table, order))) == [photos[number] for number in order]
    assert len(passes) <= 40


def test_a_giant_row_group_is_not_held(tmp_path):
    images = [np.random.default_rng(number).bytes(2**20) for number in range(64)]
    path = tmp_path / "giant.parquet"
    sizes = {"data_page_size": 2**20, "write_batch_size": 1, "use_dictionary": False}
    pq.write_table(pa.table({"image": images}), path, row_group_size=64, **sizes)
    before = pa.total_allocated_bytes()
    for number, content in enumerate(read_many(rows(path, range(64)))):
        assert content == images[number]
        assert pa.total_allocated_bytes() - before < 30 * 2**20  # of 64


def test_what_cannot_be_read_is_named(photos, table, tmp_path):
    nothing = {"image": [photos[0], None, b"no image", photos[1]], "number": [1, 2, 3, 4]}
    pq.write_table(pa.table(nothing), tmp_path / "n.parquet")
    (tmp_path / "bad.parquet").write_text("nonsense")
    (tmp_path / "cut.tar").write_bytes(bytes(600))
    at = str(tmp_path)
    uris = [
        *rows(tmp_path / "n.parquet", range(4)),
        f"{at}/n.parquet#row=4",
        f"{at}/n.parquet#row=0&column=picture",
        f"{at}/n.parquet#row=0&column=number",
        f"{at}/bad.parquet#row=0",
        f"{at}/cut.tar#bytes=512-900",
        f"{at}/gone.parquet#row=0",
        f"{at}/gone.tar#bytes=0-9",
        *rows(table, [39]),
    ]
    said = [
        None,
        "n.parquet#row=1 holds no image: the cell is null",
        "n.parquet#row=2 is no image of a known format",
        None,
        "n.parquet has no row 4; it has 4",
        "n.parquet has no column 'picture'; it has: image, number",
        "n.parquet#row=0&column=number holds int, not the bytes of an image",
        "bad.parquet cannot be read as Parquet",
        "cut.tar#bytes=512-900 is beyond the end of the file at 600; it was cut short",
        "gone.parquet",
        "gone.tar",
        None,
    ]
    planned = [{"uri": uri, "image_id": uri, "height": 1, "width": 1} for uri in uris]
    decoded = DecodeWorker(10**9)(pa.Table.from_pylist(planned, PLAN_SCHEMA)).to_pylist()
    listed = pa.Table.from_pylist([{"uri": uri} for uri in uris], SOURCE_SCHEMA)
    [sized] = with_sizes([listed], 10**9)
    for row, size, words in zip(decoded, sized.to_pylist(), said, strict=True):
        if words is None:
            image = read_rgb(row["uri"])
            assert (row["error"], row["pixels"]) == (None, image.tobytes())
            assert (size["height"], size["width"], size["error"]) == (*image.shape[:2], None)
        else:
            assert words in row["error"]
            assert words in size["error"]
    assert [row["missing"] for row in sized.to_pylist()] == ["gone" in uri for uri in uris]
    with pytest.raises(FileNotFoundError):
        read_rgb(f"{at}/gone.parquet#row=0")
    with pytest.raises(OSError, match="row=1 holds no image"):
        image_size(f"{at}/n.parquet#row=1")


def test_damage_within_a_file_costs_its_row_group(photos, table, passes):
    content = bytearray(table.read_bytes())
    chunk = pq.read_metadata(table).row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + 60] = b"\xff" * 60
    table.write_bytes(content)
    found = list(read_many(rows(table, range(40))))
    assert found[:15] == photos[:15]
    assert found[30:] == photos[30:]
    assert all("t.parquet: row" in str(one) for one in found[15:30])
    assert passes == [0, 1, 2]  # not begun again for every row that is lost


def test_sizes_of_rows_go_on_from_table_to_table(photos, table, passes, tmp_path):
    other = tmp_path / "u.parquet"
    pq.write_table(pa.table({"image": photos}), other)
    uris = rows(table, range(40)) + rows(other, range(40))
    assert [len(part) for part in together([uris[0], "/a", *uris])] == [1, 1, 40, 40]
    listed = pa.Table.from_pylist([{"uri": uri} for uri in uris], SOURCE_SCHEMA)
    tables = [listed.slice(start, 30) for start in range(0, 80, 30)]
    sized = pa.concat_tables(with_sizes(tables, 10**9))
    assert sized["height"].to_pylist() == [20 + number for number in range(40)] * 2
    assert sized["error"].null_count == 80
    assert sorted(passes) == [0, 0, 1, 2]
    [small] = with_sizes([listed.slice(0, 2)], 20 * 30)
    assert "t.parquet#row=1 has 630 pixels, more than the limit" in small["error"][1].as_py()
