"""PLY reading without a mesh library: dialects, precision, and what is refused."""

import cv2
import numpy as np
import pytest

from pose_models.files import InputError
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.meshes.ply import read_ply

ASCII = """ply
format ascii 1.0
comment TextureFile a.png
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_index
property list uchar float texcoord
end_header
0.1 0 0 1 2 3
1 0 0 4 5 6
0 1 0 7 8 9
0 0 1 255 0 1
3 0 1 2 6 0 0 0 0 0 0
3 0 1 3 6 0 0 0 0 0 0
"""


def test_ascii_keeps_full_precision_colors_and_skips_texture_coordinates(tmp_path):
    path = tmp_path / "a.ply"
    path.write_text(ASCII)
    vertices, faces, colors = read_ply(path)[:3]
    assert vertices[0, 0] == 0.1
    assert faces.tolist() == [[0, 1, 2], [0, 1, 3]]
    assert colors.tolist()[3] == [255, 0, 1]


def test_binary_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    mesh = Mesh(rng.normal(size=(9, 3)), rng.integers(0, 9, (5, 3)), rng.integers(0, 255, (9, 3)).astype(np.uint8))
    save_ply(tmp_path / "b.ply", mesh)
    again = load_mesh(tmp_path / "b.ply")
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(again.faces, mesh.faces)
    np.testing.assert_array_equal(again.colors, mesh.colors)


@pytest.mark.parametrize(
    "change", [("3 0 1 3 6", "4 0 1 2 3 6"), ("element vertex 4", "element vertex 9"), ("ply\n", "")]
)
def test_what_is_no_triangle_mesh_is_refused(tmp_path, change):
    path = tmp_path / "a.ply"
    path.write_text(ASCII.replace(*change, 1))
    with pytest.raises(InputError, match=r"a\.ply: unreadable mesh"):
        read_ply(path)


def test_a_mesh_without_faces_says_so(tmp_path):
    path = tmp_path / "a.ply"
    text = ASCII.replace("element face 2", "element face 0").split("3 0 1 2 6")[0]
    path.write_text(text)
    with pytest.raises(InputError, match="0 faces"):
        load_mesh(path)


PLATE = """ply
format ascii 1.0
comment TextureFile plate.png
element vertex 3
property float x
property float y
property float z
property float texture_u
property float texture_v
element face 1
property list uchar int vertex_indices
end_header
0 0 0 0 0
10 0 0 1 0
0 10 0 0 1
3 0 1 2
"""


def test_textures_are_read_where_they_are_asked_for(tmp_path):
    path = tmp_path / "plate.ply"
    path.write_text(PLATE)
    texture = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    cv2.imwrite(str(tmp_path / "plate.png"), texture[..., ::-1])
    mesh = load_mesh(path, texture=True)
    np.testing.assert_array_equal(mesh.texture, texture)
    assert mesh.uv.tolist() == [[[0, 0], [1, 0], [0, 1]]]
    assert load_mesh(path).texture is None


def test_texture_coordinates_of_faces_are_read(tmp_path):
    (tmp_path / "a.ply").write_text(ASCII.replace("6 0 0 0 0 0 0\n", "6 0 0.5 1 0 0 1\n", 1))
    assert read_ply(tmp_path / "a.ply").uv[0].tolist() == [[0, 0.5], [1, 0], [0, 1]]


def test_textured_obj_files_are_read(tmp_path):
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 9 0 0\nv 0 9 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd a.png\n")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 2, 3), 77, np.uint8))
    mesh = load_mesh(tmp_path / "a.obj", texture=True)
    assert mesh.texture.shape == (2, 2, 3)
    corners = mesh.vertices[mesh.faces[0]]
    np.testing.assert_allclose(mesh.uv[0], corners[:, :2] / 9)
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.obj: its texture a\.png is missing"):
        load_mesh(tmp_path / "a.obj", texture=True)
    (tmp_path / "a.mtl").unlink()
    with pytest.raises(InputError, match=r"a\.obj: its material file a\.mtl is missing"):
        load_mesh(tmp_path / "a.obj", texture=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("3 0 1 2\n", ""), None),
        (("10 0 0 1 0", "nan 0 0 1 0"), r"plate\.ply: vertex 1 is not finite \(1 such vertices\); re-export the model"),
        (("3 0 1 2\n", "3 0 1 7\n"), r"plate\.ply: face 0 names vertices \[0, 1, 7\] of 3; re-export the model"),
        (
            ("10", "0.1"),
            r"plate\.ply: only 0\.141 mm large, so probably in metres; scale it to millimetres \(by 1000\)",
        ),
        (("plate.png", "other.png"), r"plate\.ply: its texture other\.png is missing; put it beside the mesh"),
        (("plate.png", "plate.ply"), r"plate\.ply: unreadable texture; export it again as PNG or JPEG"),
        (("texture_v", "extra"), r"plate\.ply: names the texture plate\.png but has no texture coordinates"),
    ],
)
def test_bad_meshes_get_one_sentence(tmp_path, change, sentence):
    path = tmp_path / "plate.ply"
    path.write_text(
        PLATE.replace(*change).replace("element face 1", "element face 1" if sentence else "element face 0")
    )
    cv2.imwrite(str(tmp_path / "plate.png"), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(
        InputError, match=sentence or r"plate\.ply: 0 faces; re-export the model with triangles"
    ) as caught:
        load_mesh(path, texture=True)
    assert "\n" not in str(caught.value)


def test_a_size_that_models_info_denies_is_refused(tmp_path):
    (tmp_path / "obj_000004.ply").write_text(PLATE)
    (tmp_path / "models_info.json").write_text('{"4": {"diameter": 14.1}, "5": {"diameter": 141}}')
    assert len(load_mesh(tmp_path / "obj_000004.ply").faces) == 1
    (tmp_path / "obj_000005.ply").write_text(PLATE)
    with pytest.raises(InputError, match=r"14\.14 mm large, but models_info\.json says a diameter of 141 mm; scale"):
        load_mesh(tmp_path / "obj_000005.ply")
    (tmp_path / "obj_000006.ply").write_text(PLATE)
    assert len(load_mesh(tmp_path / "obj_000006.ply").faces) == 1  # not listed: nothing to compare with
