"""The camera of CosyPose's recording."""

import numpy as np

from pose_models.synthesis.recording import recording_camera


def test_camera_pose_from_a_spherical_sample(golden_dir):
    data = np.load(golden_dir / "cosypose" / "recording_camera.npz")
    T = recording_camera(*(data[name] for name in ("rho", "theta", "phi", "roll", "target")))
    np.testing.assert_allclose(T, data["TWC"], rtol=0, atol=1e-9)
    one = recording_camera(*(data[name][0] for name in ("rho", "theta", "phi", "roll")), data["target"])
    np.testing.assert_allclose(one, data["TWC"][0], rtol=0, atol=1e-9)
