"""YCB-V models for comparisons with PoseCNN against the vectors of CosyPose."""

import json

import numpy as np
import pytest

from pose_models.datasets.ycbv import NAMES, compatible_info, original_to_bop


def test_evaluation_compatible_models(golden_dir):
    found = sorted((golden_dir / "cosypose").glob("ycbv_compat*.npz"))
    if not found:
        pytest.skip(f"needs ycbv_compat*.npz in {golden_dir / 'cosypose'} (set BOPFLOW_GOLDEN)")
    for v in map(np.load, found):
        infos = {int(key): info for key, info in json.loads(str(v["models_info_in_json"])).items()}
        expected = json.loads(str(v["models_info_compat_json"]))
        assert {str(key): info for key, info in compatible_info(infos).items()} == expected
        assert json.loads(str(v["friendly_names_json"])).items() <= {str(k): name for k, name in NAMES.items()}.items()
        ids = [name.removeprefix("points_original_m_") for name in v.files if name.startswith("points_original_m_")]
        assert ids
        for i in ids:
            vertices = original_to_bop(v[f"points_original_m_{i}"], v[f"offset_mm_{i}"])
            np.testing.assert_allclose(vertices, v[f"eval_vertices_mm_{i}"], rtol=0, atol=1e-3)
