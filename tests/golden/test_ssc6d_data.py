"""Reading of the NOCS data against the vectors of SSC-6D."""

import numpy as np

from pose_models.datasets.nocs import decode_depth, is_removed, removed_models


def test_depth_of_three_channels(golden_dir):
    for path in golden_dir.glob("ssc6d/depth_decode*.npz"):
        v = np.load(path)
        assert (decode_depth(v["depth_bgr"]) == v["depth_mm"]).all()
        assert decode_depth(v["depth_bgr"]).dtype == np.uint16
        assert decode_depth(v["depth_mm"]) is not None
        assert (decode_depth(v["depth_mm"]) == v["depth_mm"]).all()


def test_models_left_out_of_shape_training(golden_dir):
    for path in golden_dir.glob("ssc6d/removed_models*.npz"):
        v = np.load(path)
        listed = {(name.partition("_")[2], model_id) for name in v.files for model_id in v[name].tolist()}
        assert all(is_removed(*pair) for pair in listed)
        assert len(removed_models()) == len(listed)
        synset, model_id = next(pair for pair in sorted(listed) if len(pair[1]) < 32)
        assert is_removed(synset, model_id.zfill(32))
        assert not is_removed("02946921" if synset != "02946921" else "03797390", model_id)
