"""Configurations of CosyPose's release: what they hold is read, what they ask to run is not."""

import argparse
from pathlib import Path

import pytest
import yaml

from pose_models.files import InputError
from pose_models.training.released_config import read_run_config


def test_a_namespace_is_read_as_it_was_saved(tmp_path):
    fields = {
        "backbone_str": "resnet50-fpn",
        "input_resize": (480, 640),
        "anchor_sizes": ((32,), (64,)),
        "label_to_category_id": {"obj_000002": 1, "background": 0},
        "save_dir": Path("/runs/detector"),
        "train_ds_names": [("synthetic.tless", 1)],
        "init_method": None,
        "state": 3,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.dump(argparse.Namespace(**fields)))  # as the release does
    read = read_run_config(path)
    assert read == {
        **fields,
        "input_resize": [480, 640],
        "anchor_sizes": [[32], [64]],
        "save_dir": "/runs/detector",
        "train_ds_names": [["synthetic.tless", 1]],
    }


@pytest.mark.parametrize("call", ["os.system", "subprocess.check_output", "builtins.eval"])
def test_nothing_is_called(tmp_path, call):
    flag = tmp_path / "flag"
    path = tmp_path / "config.yaml"
    path.write_text(
        f"x: !!python/object/apply:{call} [['touch', '{flag}']]\ny: !!python/object/new:os.system ['touch {flag}']\n"
    )
    assert set(read_run_config(path)) == {"x", "y"}
    assert not flag.exists()


@pytest.mark.parametrize(
    ("text", "sentence"), [("[1, 2]", "has no fields"), ("a: [", "unreadable configuration"), (None, "not found")]
)
def test_what_is_no_configuration_gives_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_run_config(path)
