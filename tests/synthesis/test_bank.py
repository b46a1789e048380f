"""Textures and photographs from folders of the user, and what is done with them."""

import cv2
import numpy as np
import pytest

from pose_models.files import InputError
from pose_models.synthesis.bank import FROM_FOLDER, GRAINS, PROCEDURAL, TEXTURE_SIZE, ImageBank, image_files


def _image(path, value, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))


def test_of_a_voc_folder_only_photographs_are_taken(tmp_path):
    _image(tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg", 100)
    _image(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/2007_000027.png", 3)
    _image(tmp_path / "VOCdevkit/VOC2012/SegmentationObject/2007_000027.png", 3)
    assert [path.parent.name for path in image_files(tmp_path)] == ["JPEGImages"]


def test_any_folder_of_images_works_in_the_order_of_names(tmp_path):
    for name in ("b/x.png", "a/y.JPG", "a/notes.txt"):
        _image(tmp_path / name, 1) if not name.endswith("txt") else (tmp_path / name).write_text("no image")
    assert [path.name for path in image_files(tmp_path)] == ["y.JPG", "x.png"]


def test_textures_of_a_folder_are_those_that_bodies_get(tmp_path):
    _image(tmp_path / "white.png", 255)
    _image(tmp_path / "grey.png", 128)
    bank = ImageBank("cosypose", np.random.default_rng(0), texture_folder=tmp_path)
    assert bank.textures.shape == (FROM_FOLDER + GRAINS, TEXTURE_SIZE, TEXTURE_SIZE, 3)
    picked = {round(float(bank.textures[bank.pick(np.random.default_rng(i))].mean()), 3) for i in range(30)}
    assert picked == {1.0, round((128 / 255) ** 2.2, 3)}
    assert len(ImageBank("random", np.random.default_rng(0)).textures) == PROCEDURAL + GRAINS


def test_backgrounds_are_photographs_where_there_are_some(tmp_path):
    _image(tmp_path / "JPEGImages/a.jpg", (10, 20, 240))  # BGR: red
    bank = ImageBank("random", np.random.default_rng(0), background_folder=tmp_path)
    photo = bank.photograph((64, 48), np.random.default_rng(1))
    assert photo.shape == (48, 64, 3)
    assert (photo[..., 0] > 10 * photo[..., 2]).all()
    assert ImageBank("random", np.random.default_rng(0)).photograph((64, 48), np.random.default_rng(1)) is None


def test_a_truncated_texture_is_named(tmp_path):
    _image(tmp_path / "bad.png", 7)
    (tmp_path / "bad.png").write_bytes((tmp_path / "bad.png").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"bad\.png: truncated"):
        ImageBank("random", np.random.default_rng(0), texture_folder=tmp_path)


def test_collages_fill_the_picture_with_several_textures():
    bank = ImageBank("random", np.random.default_rng(0))
    image = bank.collage((96, 64), np.random.default_rng(2))
    assert image.shape == (64, 96, 3)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.std() > 0
