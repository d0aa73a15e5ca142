from dataclasses import asdict

import pytest

from pipeline.config import RunConfig
from pipeline.files import Folder
from pipeline.record import check_same, read_record, write_record
from sess_kernels import SessError

RESOLVED = {"backbone": "lite0", "target_layer": "bn2", "class_groups": None}


def record(resolved=None, **settings):
    return {"config": asdict(RunConfig(**settings)), "resolved": RESOLVED | (resolved or {})}


def refused(earlier, now):
    with pytest.raises(SessError) as caught:
        check_same(Folder.of("/data/out"), earlier, now)
    return str(caught.value)


def test_the_same_settings_and_those_that_leave_maps_alone_pass():
    out = Folder.of("/data/out")
    check_same(out, record(scales=10), record(scales=10))
    free = {
        "engine": "local",
        "workers": 3,
        "cpu_workers": "2:4",
        "max_errors": 7,
        "batch_timeout": 9.0,
    }
    check_same(out, record(), record(**free))


def test_differences_are_shown():
    text = refused(record(scales=10), record(scales=12, method="rise"))
    assert text == (
        "/data/out holds a run with other settings: method rise (was gradcam), "
        "scales 12 (was 10); give them as they were to go on, another --out, or --overwrite"
    ) or text == (
        "/data/out holds a run with other settings: scales 12 (was 10), "
        "method rise (was gradcam); give them as they were to go on, another --out, or --overwrite"
    )
    groups = {"class_groups": {"cat": list(range(100))}}
    text = refused(record(), record(groups))
    assert 'class_groups {"cat": [0, 1, 2' in text
    assert "... (was null)" in text
    assert len(text) < 250


def test_many_differences_are_counted():
    many = {"scales": 2, "theta": 0.5, "smooth": True, "normalize": False, "top_k": 2}
    many |= {"fusion": "max", "pre_filter_ratio": 0.5, "map_dtype": "float16"}
    assert " and 2 more; give them as they were" in refused(record(), record(**many))


def test_a_setting_that_an_earlier_version_did_not_have_has_its_default():
    earlier = record()
    del earlier["config"]["fusion"]
    check_same(Folder.of("out"), earlier, record())
    assert "fusion max (was mean)" in refused(earlier, record(fusion="max"))
    del earlier["resolved"]["class_groups"]
    check_same(Folder.of("out"), earlier, record())


def test_what_is_no_record_is_told(tmp_path):
    out = Folder.of(tmp_path)
    assert read_record(out) is None
    write_record(out, {"state": "planned"})
    assert read_record(out) == {"state": "planned"}
    for content in (b"{cut", b"[1]", b'{"a": 1}'):
        out.write("run.json", content)
        with pytest.raises(SessError, match=r"run.json is no record of a run; remove it"):
            read_record(out)
