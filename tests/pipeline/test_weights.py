"""Weights: nothing in a file is run, and a machine fetches them once."""

import importlib
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
import torch

from jobs.cli import main
from pipeline import RunConfig, run
from pipeline.files import Folder
from pipeline.nearby import cache_folder, first_alone, nearby
from pipeline.stages import BackboneSpec
from sess_kernels import SessError


class _Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return os.mkdir, (self._path,)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sess"


@pytest.fixture
def weights(tiny_backbone, tmp_path):
    """A state dict that fits, in which every number is 1/100."""
    module, _, make = tiny_backbone.partition(":")
    published = getattr(importlib.import_module(module), make)().state_dict()
    state = {name: torch.full_like(value, 0.01) for name, value in published.items()}
    torch.save(state, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def _save_pickle(path, trap):
    path.write_bytes(pickle.dumps({"0.weight": _Evil(trap)}))


def _save_archive(path, trap):
    torch.save({"0.weight": torch.zeros(1), "more": _Evil(trap)}, path)


def _save_old(path, trap):
    torch.save({"0.weight": _Evil(trap)}, path, _use_new_zipfile_serialization=False)


def _save_zip(path, trap):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(_Evil(trap)))
        file.writestr("archive/version", "3")


def _save_noise(path, trap):
    path.write_bytes(os.urandom(1000))


def _save_half(path, trap):
    torch.save({"0.weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


SAVED = [_save_pickle, _save_archive, _save_old, _save_zip, _save_noise, _save_half]


@pytest.mark.parametrize("save", SAVED)
def test_weights_run_no_code(tmp_path, tiny_backbone, save):
    path, trap = tmp_path / "w.pt", tmp_path / "trap"
    save(path, trap)
    with pytest.raises(SessError) as told:
        BackboneSpec(tiny_backbone, weights=str(path)).load()
    assert not trap.exists()
    assert "cannot be read as a state dict" in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


def test_settings_run_no_code(tmp_path, capsys):
    trap = tmp_path / "trap"
    (tmp_path / "c.yaml").write_text(f"labels: !!python/object/apply:os.mkdir ['{trap}']\n")
    code = main(["run", "nowhere", "--out", str(tmp_path / "o"), "--config", f"{tmp_path}/c.yaml"])
    assert code == 2
    assert not trap.exists()
    told = capsys.readouterr().err
    assert "is not YAML: could not determine a constructor" in " ".join(told.split())


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "[1]", "{}", '{"cat": [true]}', "\0"])
def test_class_groups_of_another_kind(tmp_path, content):
    (tmp_path / "g.json").write_text(content)
    with pytest.raises(SessError, match=r"^class groups .*g.json"):
        BackboneSpec.of(RunConfig(class_groups=str(tmp_path / "g.json")))


LOAD = """
import sys
from pipeline.stages import BackboneSpec
backbone = BackboneSpec(*sys.argv[1:]).load()
print(float(sum(one.sum() for one in backbone.state_dict().values())))
"""


@pytest.mark.slow
def test_a_machine_fetches_weights_once(store, cache, weights, tiny_backbone):
    Folder.of("s3://bucket").write("w.pt", weights.read_bytes())
    store.reset()
    store.fail_next("GET", "/w.pt", "late", "late")
    command = [sys.executable, "-c", LOAD, tiny_backbone, "s3://bucket/w.pt"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {float(one.communicate()[0]) for one in running}
    expected = sum(one.sum() for one in torch.load(weights).values())
    assert told == {float(expected)}
    assert store.count("GET", "/w.pt") == 1
    assert len(list(cache.glob("*.pt"))) == 1


def test_changed_weights_are_fetched_again(store, cache, weights):
    uri = "s3://bucket/w.pt"
    Folder.of("s3://bucket").write("w.pt", weights.read_bytes())
    assert nearby(uri).read_bytes() == nearby(uri).read_bytes() == weights.read_bytes()
    assert store.count("GET", "/w.pt") == 1
    other = weights.read_bytes()[:-1] + b"x"  # as long
    time.sleep(1.1)  # S3 tells the time of a change in seconds
    Folder.of("s3://bucket").write("w.pt", other)
    assert nearby(uri).read_bytes() == other
    assert nearby(uri).read_bytes() == other


def test_weights_over_http(store, cache, weights):
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    bucket = boto3.resource("s3", endpoint_url=endpoint).Bucket("bucket")
    for content in (weights.read_bytes(), weights.read_bytes()[:-1] + b"x"):
        bucket.put_object(Key="w.pt", Body=content, ACL="public-read")
        assert nearby(f"{endpoint}/bucket/w.pt").read_bytes() == content
        asked = store.count("GET", "/w.pt")
        assert nearby(f"{endpoint}/bucket/w.pt").read_bytes() == content
        assert store.count("GET", "/w.pt") == asked


def test_threads_of_one_process_fetch_once_too(store, cache, weights):
    Folder.of("s3://bucket").write("w.pt", weights.read_bytes())
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(nearby, ["s3://bucket/w.pt"] * 4))
    assert len(found) == 1
    assert store.count("GET", "/w.pt") == 1


def test_a_fetch_that_breaks_off_leaves_nothing(store, cache, weights, monkeypatch):
    Folder.of("s3://bucket").write("w.pt", weights.read_bytes())
    monkeypatch.setattr("pipeline.stores._ATTEMPTS", 1)
    store.fail_next("GET", "/w.pt", *["cut"] * 3)
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        nearby("s3://bucket/w.pt")
    assert list(cache.glob("*.pt")) == []
    assert nearby("s3://bucket/w.pt").read_bytes() == weights.read_bytes()


def test_weights_that_are_not_there(store, tiny_backbone):
    for uri in ("s3://bucket/none.pt", "/none/none.pt"):
        with pytest.raises(SessError, match=f"weights {uri} do not exist; check the path"):
            BackboneSpec(tiny_backbone, weights=uri).load()


def test_a_run_knows_its_weights(store, cache, weights, tiny_backbone, tmp_path, draw):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.fromarray(draw(20, 30)).save(tmp_path / "photos" / "a.png")
    Folder.of("s3://bucket").write("w.pt", weights.read_bytes())
    settings = {"engine": "local", "labels": "predicted", "scales": 1, "backbone": tiny_backbone}
    config = RunConfig(weights="s3://bucket/w.pt", **settings)
    out = tmp_path / "out"
    run(str(tmp_path / "photos"), out, config)
    assert store.count("GET", "/w.pt") == 1
    digest = json.loads((out / "run.json").read_text())["resolved"]["weights_sha256"]
    Folder.of("s3://bucket").write("w.pt", weights.read_bytes() + b" ")
    with pytest.raises(SessError, match=f"weights_sha256 .* .was {digest[:20]}"):
        run(str(tmp_path / "photos"), out, config)


def test_the_first_loads_alone(cache):
    told = []

    def load(number):
        with first_alone("timm/some"):
            told.append(f"begin {number}")
            told.append(f"end {number}")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(load, range(3)))
    assert told[1] == told[0].replace("begin", "end")
    with pytest.raises(RuntimeError), first_alone("timm/other"):
        raise RuntimeError
    with first_alone("timm/other"), first_alone("timm/some"):  # known: nobody waits
        pass


def test_where_weights_are_kept(cache, tmp_path, monkeypatch):
    assert cache_folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made there
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    there = tmp_path / f"sess-{os.getuid()}"
    assert cache_folder() == there
    monkeypatch.setattr("os.getuid", lambda: there.stat().st_uid + 1)
    (tmp_path / f"sess-{os.getuid()}").mkdir()  # of another user, who could put weights there
    assert cache_folder().parent == tmp_path
    assert cache_folder().name != f"sess-{os.getuid()}"
