"""The kernel is built for GPUs that are not here."""

import os
import re

import pytest

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from sess_kernels.triton.fusion import TILE  # noqa: E402

_SIGNATURE = {
    "owners": "*i32",
    "maps": "*i64",
    "patches": "*i64",
    "scores": "*fp32",
    "indices": "*i32",
    "weights": "*fp32",
    "theta": "fp32",
    "is_max": "i32",
    "HEIGHT": "constexpr",
    "WIDTH": "constexpr",
}


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="kernels are interpreted")
@pytest.mark.parametrize("capability", [75, 80, 90])
def test_the_kernel_is_built_of_plain_float32(capability, tmp_path, monkeypatch):
    from sess_kernels.triton.kernel import fuse_tiles

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))  # built here, not found
    source = ASTSource(fuse_tiles, _SIGNATURE, {"HEIGHT": TILE[0], "WIDTH": TILE[1]})
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert len(built.asm["cubin"]) > 1000
    ptx = built.asm["ptx"]
    assert re.search(rf"\.target sm_{capability}a?\b", ptx)
    assert ptx.count("fma.rn.f32") >= 20  # four samples along both axes
    assert ptx.count("div.rn.f32") == ptx.count("st.global")  # rounded as IEEE 754 says
    assert not re.search(r"tf32|\bmma|\batom\.|\bred\.|div\.full|\.ftz", ptx)
