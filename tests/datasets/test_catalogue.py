"""The catalogue of datasets: every entry reads, and custom datasets need none."""

import json

import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.catalogue import catalogue_entry, catalogue_names, dataset_facts
from pose_models.files import InputError

CORE = {"lmo", "tless", "tudl", "icbin", "itodd", "hb", "ycbv"}


def test_every_entry_is_complete():
    assert len(catalogue_names()) >= 19
    for name in catalogue_names():
        entry = catalogue_entry(name)
        assert entry.objects
        assert entry.symmetric is not None
        assert set(entry.symmetric) <= set(entry.objects), name
        assert entry.image_size
        assert entry.test_scenes
        assert (name in CORE) == entry.core


def test_facts_that_evaluation_rests_on():
    assert catalogue_entry("itodd").delta_mm == 5
    assert catalogue_entry("tless").split == "test_primesense"
    assert catalogue_entry("xyzibd").estimates_per_image == 200
    assert catalogue_entry("tyol").symmetric == (*range(3, 9), *range(10, 14), *range(15, 20), 21)


def custom(tmp_path, name="own"):
    root = tmp_path / name
    (root / "models_eval").mkdir(parents=True)
    infos = {"3": {"diameter": 1}, "8": {"diameter": 1, "symmetries_discrete": [[1] * 16]}}
    (root / "models_eval" / "models_info.json").write_text(json.dumps(infos))
    (root / "camera.json").write_text(json.dumps({"width": 320}))
    return root


def test_a_custom_dataset_is_derived_from_its_files(tmp_path):
    facts = dataset_facts(BopDataset(custom(tmp_path)))
    assert facts.object_ids == (3, 8)
    assert facts.symmetric_ids == {8}
    assert facts.image_width == 320
    assert (facts.split, facts.delta_mm) == ("test", 15)


def test_a_dataset_may_bring_its_own_entry(tmp_path):
    root = custom(tmp_path)
    (root / "dataset.yaml").write_text("objects: '3'\ndelta_mm: 5\n")
    facts = dataset_facts(BopDataset(root))
    assert facts.object_ids == (3,)
    assert facts.delta_mm == 5


def test_a_wrong_key_is_named_with_the_nearest(tmp_path):
    root = custom(tmp_path)
    (root / "dataset.yaml").write_text("delta: 5\n")
    with pytest.raises(InputError, match=r"dataset\.yaml: delta is not a known key; did you mean 'delta_mm'"):
        dataset_facts(BopDataset(root))
