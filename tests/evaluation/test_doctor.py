"""The doctor on a small sound dataset finds nothing; with one defect planted, exactly that defect."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.bop_writer import InstanceRecord, SceneWriter, localisation_targets
from pose_models.datasets.layouts import convert_split
from pose_models.evaluation.doctor.dataset import examine
from pose_models.evaluation.doctor.kinds import KINDS
from pose_models.files import InputError, write_json
from pose_models.meshes.bounds import model_info
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.visibility import box_of_mask, instance_info

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, SCALE = 200, 150, 0.1
K = np.array([[250.0, 0, 99.5], [0, 250, 74.5], [0, 0, 1]])
POSES = [  # object, rotation vector, translation; the second instance is partly behind the first
    (1, [0.3, 0.2, 0.1], [-35, 5, 400]),
    (1, [0, 0.4, 0.8], [-15, 20, 440]),
    (2, [1.9, 0, 0.2], [40, 0, 420]),
]


def cuboid() -> Mesh:
    sign = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(
        sign * np.array([60, 40, 25]) / 2, np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])
    )


def cone(n: int = 96) -> Mesh:
    angle = 2 * np.pi * np.arange(n) / n
    rim = np.column_stack([25 * np.cos(angle), 25 * np.sin(angle), np.full(n, -30.0)])
    faces = [f for i in range(n) for f in ((i, (i + 1) % n, n), ((i + 1) % n, i, n + 1))]
    return Mesh(np.concatenate([rim, [[0, 0, 40], [0, 0, -30]]]), np.array(faces))


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """Two scenes of two images, rendered with the same conventions that the doctor checks by."""
    root = tmp_path_factory.mktemp("doctor") / "tiny"
    meshes = {1: cuboid(), 2: cone()}
    infos = {i: model_info(mesh.vertices) for i, mesh in meshes.items()}
    infos[1]["symmetries_discrete"] = [np.diag([-1.0, -1, 1, 1]).ravel().tolist()]
    infos[2]["symmetries_continuous"] = [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]
    for i, mesh in meshes.items():
        save_ply(root / "models" / f"obj_{i:06d}.ply", mesh)
    write_json(root / "models" / "models_info.json", {str(i): info for i, info in infos.items()})
    write_json(root / "camera.json", {"width": WIDTH, "height": HEIGHT})
    rng = np.random.default_rng(0)
    for scene_id in (1, 2):
        writer = SceneWriter(root / "test" / f"{scene_id:06d}")
        for im_id in (0, 5):
            turn = Rotation.from_rotvec([0, 0, 0.1 * im_id + scene_id])
            write_image(writer, im_id, [(i, pose(r, t, turn)) for i, r, t in POSES], meshes, rng)
        writer.close()
    write_json(root / "test_targets_bop19.json", localisation_targets(BopDataset(root), "test"))
    return root


def pose(rotvec, t, turn):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = (turn * Rotation.from_rotvec(rotvec)).as_matrix(), t
    return T


def write_image(writer, im_id, instances, meshes, rng):
    window = Window.large_canvas(WIDTH, HEIGHT)
    patches = [rasterize(meshes[i], K, T[:3, :3], T[:3, 3], window) for i, T in instances]
    layers = np.stack([patch.paste(WIDTH, HEIGHT) for patch in patches])
    nearest = np.where(layers > 0, layers, 600.0).min(axis=0)
    raw = np.round(nearest / SCALE).astype(np.uint16)
    measured = raw.astype(np.float32) * np.float32(SCALE)
    records = [
        InstanceRecord(i, T, *instance_info(patch, measured, K, 15.0))
        for (i, T), patch in zip(instances, patches, strict=True)
    ]
    rgb = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    writer.add(im_id, rgb, raw, K, SCALE, records)


@pytest.fixture
def root(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "tiny"))


def codes(root, **options):
    return [finding.code for finding in examine(root, rendered=10, **options).findings]


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def scene(root) -> Path:
    return root / "test" / "000001"


def test_a_sound_dataset_has_no_findings(sound):
    report = examine(sound, rendered=10)
    assert report.findings == []
    assert {model.symmetries for model in report.models["models"].values()} == {"1 discrete", "1 continuous"}
    fits = [fit for _, fit in report.fits["test"]]
    assert len(fits) == 12
    assert min(fit.iou for fit in fits) == 1.0
    assert max(abs(fit.depth_mm) for fit in fits) < 0.1


def of_image(change, file="scene_gt.json"):
    """A defect in the records of image 5: `change` takes its entry."""
    return lambda root: edit(scene(root) / file, lambda content: change(content["5"]))


def of_model(change, obj="1"):
    return lambda root: edit(root / "models" / "models_info.json", lambda content: change(content[obj]))


def scaled_mesh(factor):
    def plant(root):
        path = root / "models" / "obj_000001.ply"
        mesh = load_mesh(path)
        save_ply(path, Mesh(mesh.vertices * factor, mesh.faces))

    return plant


def all_in_metres(root):
    for i in (1, 2):
        path = root / "models" / f"obj_{i:06d}.ply"
        mesh = load_mesh(path)
        save_ply(path, Mesh(mesh.vertices / 1000, mesh.faces))
    lengths = ("diameter", *(f"{what}_{axis}" for what in ("min", "size") for axis in "xyz"))

    def change(content):
        for entry in content.values():
            entry |= {key: entry[key] / 1000 for key in lengths}

    edit(root / "models" / "models_info.json", change)


def poses_in_metres(root):
    def change(content):
        for instance in (instance for image in content.values() for instance in image):
            instance["cam_t_m2c"] = [value / 1000 for value in instance["cam_t_m2c"]]

    for folder in (root / "test").iterdir():
        edit(folder / "scene_gt.json", change)


def image_file(folder, name, change):
    """A defect in an image file: `change` takes its pixels."""

    def plant(root):
        path = scene(root) / folder / name
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))

    return plant


def delete(*parts):
    def plant(root):
        path = root.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return plant


def delete_all(*parts, names):
    return lambda root: [delete(*parts, name)(root) for name in names]


def truncate(*parts):
    def plant(root):
        path = root.joinpath(*parts)
        path.write_bytes(path.read_bytes()[:-30])

    return plant


def targets(change):
    return lambda root: edit(root / "test_targets_bop19.json", change)


def replaced(entries, number, **values):
    entries[number] |= values


def moved(entries, gt_id, *by):
    entries[gt_id]["cam_t_m2c"] = (np.array(entries[gt_id]["cam_t_m2c"]) + by).tolist()


def turned(entries, gt_id, factor):
    entries[gt_id]["cam_R_m2c"] = (factor * np.array(entries[gt_id]["cam_R_m2c"])).tolist()


def put(content, key, value):
    content[key] = value


def image_path(root):
    return next((scene(root) / "rgb").glob("000005.*"))  # PNG or JPEG, as the writer likes


def annotated_twice(root):
    for file in ("scene_gt.json", "scene_gt_info.json"):
        edit(scene(root) / file, lambda content: content["5"].append(content["5"][0]))
    for folder in ("mask", "mask_visib"):
        shutil.copy(scene(root) / folder / MASK, scene(root) / folder / "000005_000003.png")


def hardly_visible(root):
    """A visible mask that leaves out most of what the depth shows, with counts and box to match."""
    path = scene(root) / "mask_visib" / MASK
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0
    mask[: int(np.median(np.flatnonzero(mask.any(axis=1)))) + 3] = False
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)

    def change(content):
        info = content["5"][0]
        info |= {"px_count_visib": int(mask.sum()), "visib_fract": mask.sum() / info["px_count_all"]}
        info["bbox_visib"] = box_of_mask(mask)

    edit(scene(root) / "scene_gt_info.json", change)


T, IMAGE, MASK = ("test", "000001"), "000005.png", "000005_000000.png"
ABOUT_X = {"axis": [1, 0, 0], "offset": [0, 0, 0]}
K_LARGE = [2500, 0, 995, 0, 2500, 745, 0, 0, 1]
CAMERA, INFO = "scene_camera.json", "scene_gt_info.json"
QUARTER_TURN = [0.0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
SHEAR = [1.0, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
DEFECTS = {
    # models
    "models-missing": delete("models"),
    "model-unreadable": lambda root: (root / "models" / "obj_000001.ply").write_bytes(b"ply\n"),
    "model-missing": delete("models", "obj_000001.ply"),
    "model-info": of_model(lambda entry: entry.pop("diameter")),
    "model-unit": scaled_mesh(0.001),
    "model-unit (all)": all_in_metres,
    "model-diameter": of_model(lambda entry: put(entry, "diameter", 90.0)),
    "model-extents": of_model(lambda entry: put(entry, "size_y", 45.0)),
    "symmetry-record": of_model(lambda entry: put(entry, "symmetries_discrete", [SHEAR])),
    "symmetry-record (short)": of_model(lambda entry: put(entry, "symmetries_discrete", [[1, 2, 3]])),
    "symmetry-wrong": of_model(lambda entry: put(entry, "symmetries_continuous", [ABOUT_X]), "2"),
    "symmetry-loose": of_model(lambda entry: put(entry, "symmetries_discrete", [QUARTER_TURN])),
    # records
    "scene-unreadable": truncate(*T, CAMERA),
    "no-ground-truth": delete_all(*T, names=("scene_gt.json", INFO, "mask", "mask_visib")),
    "no-info": delete(*T, INFO),
    "camera-record": of_image(lambda entry: entry.pop("cam_K"), CAMERA),
    "camera-record (nan)": of_image(lambda entry: put(entry["cam_K"], 0, float("nan")), CAMERA),
    "camera-absurd": of_image(lambda entry: put(entry["cam_K"], 4, -250.0), CAMERA),
    "camera-absurd (transposed)": of_image(lambda entry: put(entry, "cam_K", K.T.ravel().tolist()), CAMERA),
    "depth-scale-record": of_image(lambda entry: put(entry, "depth_scale", 0), CAMERA),
    "pose-record": of_image(lambda entries: entries[0].pop("cam_t_m2c")),
    "pose-record (nan)": of_image(lambda entries: put(entries[0]["cam_R_m2c"], 3, float("nan"))),
    "pose-rotation": of_image(lambda entries: turned(entries, 0, 1.01)),
    "pose-rotation (mirror)": of_image(lambda entries: turned(entries, 0, -1)),
    "pose-behind": of_image(lambda entries: moved(entries, 0, 0, 0, -800)),
    "pose-unit": poses_in_metres,
    "pose-object": of_image(lambda entries: replaced(entries, 2, obj_id=7)),
    "pose-twice": annotated_twice,
    "truth-without-camera": lambda root: [
        edit(scene(root) / file, lambda content: put(content, "9", content["5"])) for file in ("scene_gt.json", INFO)
    ],
    "image-unannotated": lambda root: shutil.copy(image_path(root), image_path(root).with_stem("000006")),
    "info-count": of_image(lambda entries: entries.pop(), INFO),
    "info-record": of_image(lambda entries: entries[0].pop("px_count_all"), INFO),
    "info-inconsistent": of_image(lambda entries: replaced(entries, 0, visib_fract=0.2), INFO),
    # files
    "image-missing": lambda root: image_path(root).unlink(),
    "image-unreadable": lambda root: image_path(root).write_bytes(image_path(root).read_bytes()[:-200]),
    "depth-missing": delete(*T, "depth", IMAGE),
    "depth-unreadable": truncate(*T, "depth", IMAGE),
    "depth-type": image_file("depth", IMAGE, lambda pixels: (pixels // 256).astype(np.uint8)),
    "depth-empty": image_file("depth", IMAGE, np.zeros_like),
    "size": image_file("depth", IMAGE, lambda pixels: pixels[::2, ::2]),
    "size (mask)": image_file("mask", MASK, lambda pixels: pixels[:, :-1]),
    "size-camera": lambda root: edit(root / "camera.json", lambda content: put(content, "width", 640)),
    "camera-size": of_image(lambda entry: put(entry, "cam_K", K_LARGE), CAMERA),
    "masks-absent": delete_all(*T, names=("mask", "mask_visib")),
    "mask-missing": delete(*T, "mask_visib", MASK),
    "mask-unreadable": truncate(*T, "mask_visib", MASK),
    "mask-surplus": lambda root: shutil.copy(scene(root) / "mask" / MASK, scene(root) / "mask" / "000005_000009.png"),
    "mask-empty": image_file("mask_visib", MASK, np.zeros_like),
    "mask-info": of_image(lambda entries: replaced(entries, 0, bbox_visib=[40, 40, 30, 30]), INFO),
    "mask-info (count)": image_file("mask_visib", MASK, lambda pixels: cv2.erode(pixels, np.ones((5, 5)))),
    "box-outside": of_image(lambda entries: replaced(entries, 0, bbox_visib=[190, 40, 30, 30]), INFO),
    # poses against pixels
    "depth-unit": of_image(lambda entry: put(entry, "depth_scale", 1.0), CAMERA),
    "pose-silhouette": of_image(lambda entries: moved(entries, 2, 15, 0, 0)),
    "mask-visible": hardly_visible,
    "pose-depth": image_file("depth", IMAGE, lambda pixels: (pixels + 400).astype(np.uint16)),
    # targets
    "targets-missing": delete("test_targets_bop19.json"),
    "targets-broken": targets(lambda entries: entries[0].pop("obj_id")),
    "target-image": targets(lambda entries: replaced(entries, 0, im_id=4)),
    "target-object": targets(lambda entries: replaced(entries, 0, obj_id=3)),
    "target-count": targets(lambda entries: replaced(entries, 0, inst_count=3)),
    "target-visible": targets(lambda entries: replaced(entries, 0, inst_count=1)),
    "target-twice": targets(lambda entries: entries.append(entries[0])),
}  # fmt: skip
SEEN_FROM_TWO_SIDES = {"camera-size": {"camera-size", "pose-silhouette"}}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found_and_nothing_else(root, name):
    DEFECTS[name](root)
    code = name.partition(" ")[0]
    assert set(codes(root)) == SEEN_FROM_TWO_SIDES.get(name, {code})


def test_every_kind_of_finding_is_planted():
    assert {name.partition(" ")[0] for name in DEFECTS} == set(KINDS)


def test_one_cause_takes_one_finding_with_its_worst_examples(root):
    for path in (root / "test").glob("*/rgb/*"):
        path.unlink()
    turn = 0.0
    for folder in sorted((root / "test").iterdir()):
        for image in ("0", "5"):
            turn += 0.01
            edit(folder / "scene_gt.json", lambda content, image=image, turn=turn: turned(content[image], 0, 1 + turn))
    findings = examine(root).findings
    assert [(f.code, f.count, len(f.examples)) for f in findings] == [("pose-rotation", 4, 3), ("image-missing", 4, 3)]
    assert [(Path(e.file).parent.name, e.record) for e in findings[0].examples] == [
        ("000002", "image 5, instance 0"), ("000002", "image 0, instance 0"), ("000001", "image 5, instance 0")
    ]  # fmt: skip


def test_findings_are_sorted_by_severity_and_the_same_from_several_processes(root):
    for name in ("depth-empty", "image-unannotated", "pose-rotation", "target-visible", "symmetry-loose"):
        DEFECTS[name](root)
    one, two = examine(root, jobs=1), examine(root, jobs=2)
    severities = [finding.kind.severity for finding in one.findings]
    assert severities == ["error", "warning", "warning", "note", "note"]
    assert [f.to_json() for f in one.findings] == [f.to_json() for f in two.findings]
    assert one.errors == 1


def test_only_the_splits_asked_for_are_read(root):
    shutil.copytree(root / "test", root / "train")
    DEFECTS["image-missing"](root)
    assert codes(root, splits=["train"]) == []
    assert [f.place for f in examine(root).findings] == ["test"]


@pytest.mark.parametrize("layout", ["imagewise", "webdataset"])
def test_other_layouts_are_read_as_well(root, layout):
    convert_split(BopDataset(root), "test", layout, root / "val")
    report = examine(root, splits=["val"])
    assert report.findings == []
    assert len(report.fits["val"]) == 12
    shutil.rmtree(root / "val")
    DEFECTS["pose-silhouette"](root)
    DEFECTS["depth-missing"](root)
    convert_split(BopDataset(root), "test", layout, root / "val")
    assert codes(root, splits=["val"]) == ["depth-missing", "pose-silhouette"]


def test_a_folder_that_is_no_dataset_is_refused(root):
    with pytest.raises(InputError, match="no scenes found; splits are test"):
        examine(root, splits=["val"])
    with pytest.raises(InputError, match="name the folder that holds models/ and test/"):
        examine(root / "test" / "000001" / "rgb")
    with pytest.raises(InputError, match="dataset folder not found"):
        examine(root / "nowhere")


def run(*arguments):
    command = [sys.executable, str(ROOT / "workflow_scripts" / "check_dataset.py"), *map(str, arguments), "--jobs", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_program_says_what_is_wrong_and_fails_only_on_errors(root, tmp_path):
    page, findings = tmp_path / "check.html", tmp_path / "check.json"
    DEFECTS["pose-rotation"](root)
    DEFECTS["depth-empty"](root)
    done = run(root, "--page", page, "--json", findings)
    assert done.returncode == 1
    assert "error: test: a rotation is not orthogonal\n" in done.stdout
    assert f"{root}/test/000001/scene_gt.json: image 5, instance 0: R R^T differs from 1 by 0.02" in done.stdout
    assert [(f["severity"], f["code"], f["count"]) for f in json.loads(findings.read_text())] == [
        ("error", "pose-rotation", 1), ("warning", "depth-empty", 1)
    ]  # fmt: skip
    assert "a rotation is not orthogonal" in page.read_text()
    assert done.stdout.strip().endswith("4 images, 1 errors, 1 warnings and notes")
    assert run(root, "--no-fail").returncode == 0
    assert run(root, "--split", "val").returncode == 2
