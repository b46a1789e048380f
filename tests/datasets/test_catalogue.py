"""The catalogue of datasets: every entry reads, and custom datasets need none."""

import json

import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.catalogue import (
    catalogue_entry,
    catalogue_names,
    dataset_facts,
    default_parts,
    published,
)
from pose_models.files import InputError

CORE = {"lmo", "tless", "tudl", "icbin", "itodd", "hb", "ycbv"}


BOP = [
    *("lm", "lmo", "tless", "tudl", "icbin", "itodd", "hb", "hbs", "ycbv", "hope", "hopev2", "handal", "hot3d", "ipd"),
    *("xyzibd", "tyol", "ruapc", "icmi", "itoddmv"),
]
OTHERS = ["nocs", "symsol", "voc2012", "linemod_pvnet"]

# bop.md section 3.1 as it stands there; all names end in .zip unless given.
ARCHIVES = {
    "lm": "lm_base lm_models lm_test_all lm_test_bop19 lm_train lm_train_pbr",
    "lmo": "lmo_base lmo_models lmo_test_all lmo_test_bop19 lmo_train",
    "tless": "tless_base tless_models tless_test_primesense_all tless_test_primesense_bop19 tless_train_primesense"
    " tless_train_render_reconst tless_train_pbr",
    "tudl": "tudl_base tudl_models tudl_test_all tudl_test_bop19 tudl_train_real tudl_train_render tudl_train_pbr",
    "icbin": "icbin_base icbin_models icbin_test_all icbin_test_bop19 icbin_train icbin_train_pbr",
    "itodd": "itodd_base itodd_models itodd_val itodd_test_all itodd_test_bop19 itodd_train_pbr",
    "hb": "hb_base hb_models hb_val_primesense hb_val_kinect hb_test_primesense_all hb_test_primesense_bop19"
    " hb_test_kinect_all hb_train_pbr",
    "ycbv": "ycbv_base ycbv_models ycbv_test_all ycbv_test_bop19 ycbv_train_pbr ycbv_train_real.z01 ycbv_train_real"
    " ycbv_train_synt",
    "ruapc": "ruapc_base ruapc_models ruapc_train ruapc_test_all ruapc_test_bop19",
    "icmi": "icmi_base icmi_models icmi_train icmi_test_all icmi_test_bop19",
    "tyol": "tyol_base tyol_models tyol_test_all tyol_test_bop19",
    "hope": "hope_base hope_models hope_val_realsense hope_test_realsense hope_test_vicon hope_test_bop24"
    " hope_onboarding_static hope_onboarding_dynamic hope_train_pbr.z01 hope_train_pbr.z02 hope_train_pbr",
    "handal": "handal_base handal_models handal_val handal_onboarding_static handal_test_all handal_test_bop24"
    " handal_train_pbr.z01 handal_train_pbr",
    "hot3d": "hot3d_base hot3d_train_pbr.z01 hot3d_train_pbr object_models/* object_models_eval/* train_aria/*"
    " train_quest3/* test_aria/* test_quest3/*",
    "ipd": "ipd_base ipd_models ipd_val ipd_test_all.z01 ipd_test_all ipd_train_pbr.z01 ipd_train_pbr.z02"
    " ipd_train_pbr.z03 ipd_train_pbr ipd_train_pbr_patch",
    "xyzibd": "xyzibd_base xyzibd_models xyzibd_val xyzibd_test_all xyzibd_train_pbr.z01 xyzibd_train_pbr",
}
DIGESTS = {
    "tless_base.zip": "dd70ca884b7c471a530a952f70c5ab2c212f3d2c2f371be86397442b97d70a7e",
    "lm_base.zip": "a1d793837d4de0dbd33f04e8b04ce4403c909248c527b2d7d61ef5eac3ef2c39",
    "lm_models.zip": "cb5b5366ce620d41800c7941c2e770036c7c13c178514fa07e6a89fda5ff0e7f",
    "lm_test_all.zip": "28e65e9530b94a87c35f33cba81e8f37bc4d59f95755573dea6e9ca0492f00fe",
    "lm_train_pbr.zip": "b7814cc0cd8b6f0d9dddff7b3ded2a189eacfd2c19fa10b3e332f022930551a9",
    "ipd_base.zip": "c4943d90040df0737ac617c30a9b4e451a7fc94d96c03406376ce34e5a9724d1",
    "ipd_models.zip": "e7435057b48c66faf3a10353a7ae0bffd63ec6351a422d2c97d4ca4b7e6b797a",
    "ipd_val.zip": "50df37c370557a3cccc11b2e6d5f37f13783159ed29f4886e09c9703c1cad8de",
    "ipd_test_all.zip": "e1b042f046d7d07f8c8811f7739fb68a25ad8958d1b58c5cbc925f98096eb6f9",
    "ipd_test_all.z01": "25ce71feb7d9811db51772e44ebc981d57d9f10c91776707955ab1e616346cb3",
    "ipd_train_pbr.zip": "748bb427947b2df9f0341604503cce6924f4c1519bf915b387b8d0f565c59d92",
    "ipd_train_pbr.z01": "b093dc28974f211f44dd2b9494f47533ef803c2ff3f9ef5605e8daa42b06227c",
    "ipd_train_pbr.z02": "fabf83c142f2c8d63dc07a23110faf9650febb96eba16c706d5c3156b388666c",
    "ipd_train_pbr.z03": "ae9c294e3ec09a13c27c5371d8eedd32d09ad51a541a953178b63eed38803034",
    "VOCtrainval_11-May-2012.tar": "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
}
INFERRED = {"tyol_base.zip", "tyol_models.zip", "tyol_test_all.zip", "tyol_test_bop19.zip"} | {
    f"{name}_train.zip" for name in ("lm", "lmo", "icbin", "ruapc", "icmi")
}
SIZES = {
    "lm_train_pbr.zip": 21_800_000_000,
    "tless_base.zip": 49_597,
    "tless_models.zip": 33_500_000,
    "tless_test_primesense_bop19.zip": 830_000_000,
    "ycbv_test_bop19.zip": 660_000_000,
    "hope_base.zip": 11_400,
    "handal_train_pbr.z01": 48_300_000_000,
    "ipd_train_pbr.z03": 42_900_000_000,
    "xyzibd_base.zip": 2_940,
}


def files(name):
    """Files of a dataset with the part they belong to."""
    return {file: (known, part) for part in catalogue_entry(name).parts.values() for file, known in part.files.items()}


def test_the_catalogue_has_every_dataset_and_every_entry_is_complete():
    assert set(catalogue_names()) == {*BOP, *OTHERS}
    for name in BOP:
        entry = catalogue_entry(name)
        assert entry.objects
        assert entry.symmetric is not None
        assert set(entry.symmetric) <= set(entry.objects), name
        assert entry.image_size
        assert entry.test_scenes
        assert (name in CORE) == entry.core
    for name in {*catalogue_names()} - {"hbs"}:
        entry = catalogue_entry(name)
        assert entry.title, name
        assert entry.citation, name
        assert entry.repository or entry.page, name
        assert entry.parts, name
        uses = {part.needed_for for part in entry.parts.values()}
        assert "inference" in uses or name == "voc2012", name


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_are_those_of_the_specification(name):
    expected = {word if "." in word or "*" in word else f"{word}.zip" for word in ARCHIVES[name].split()}
    assert set(files(name)) == expected
    assert catalogue_entry(name).repository == f"bop-benchmark/{name}"


def test_digests_and_inferred_names_are_those_of_the_specification():
    found = {file: known.sha256 for name in catalogue_names() for file, (known, _) in files(name).items()}
    assert {file: digest for file, digest in found.items() if digest} == DIGESTS
    inferred = {file for name in ARCHIVES for file, (_, part) in files(name).items() if part.inferred}
    assert inferred == INFERRED
    assert all(part.inferred for _, part in files("itoddmv").values())
    sizes = {file: known.size for name in ARCHIVES for file, (known, _) in files(name).items()}
    assert {file: sizes[file] for file in SIZES} == SIZES


def test_what_inference_and_training_need():
    needs = {name: default_parts(catalogue_entry(name), ["inference"]) for name in ("tless", "lmo", "hb")}
    assert needs == {
        "tless": ["base", "models", "test_primesense_bop19"],
        "lmo": ["base", "models", "test_bop19"],
        "hb": ["base", "models", "test_primesense_bop19"],
    }
    assert default_parts(catalogue_entry("tless"), ["training"]) == ["train_pbr"]
    assert default_parts(catalogue_entry("lmo"), ["training"]) == []
    assert catalogue_entry("lmo").training_from == "lm"
    assert catalogue_entry("tless").models == "models_cad"


def test_only_what_can_be_fetched_is_published():
    assert published("tless").repository == "bop-benchmark/tless"
    with pytest.raises(InputError, match="dataset 'tles' is not in the catalogue; did you mean 'tless'"):
        published("tles")
    with pytest.raises(InputError, match="it is part of 'hb'"):
        published("hbs")


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
