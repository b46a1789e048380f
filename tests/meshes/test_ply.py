"""PLY reading without a mesh library: dialects, precision, and what is refused."""

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
