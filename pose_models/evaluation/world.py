"""What estimates are compared with: models, ground truth and targets of one split of a dataset, checked on reading."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset, BopScene, Target
from pose_models.datasets.catalogue import Facts, dataset_facts
from pose_models.datasets.index import INFOS, INSTANCES
from pose_models.files import InputError, read_json
from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.meshes.mesh import Mesh, load_mesh, read_mesh
from pose_models.render.visibility import MIN_VISIBLE_FRACTION

if TYPE_CHECKING:  # most protocols do without
    from scipy.spatial import cKDTree

Array = NDArray[np.float64]
ImageKey = tuple[int, int]  # scene id, image id

SYMMETRY_STEP = 0.01  # largest share of the diameter that a vertex moves between neighbouring symmetries
MIN_VISIBLE = MIN_VISIBLE_FRACTION


@dataclasses.dataclass(frozen=True)
class EvaluatedObject:
    """One object: mesh (mm), diameter, symmetry transforms (S, 4, 4), and whether AD means ADD-S for it."""

    obj_id: int
    mesh: Mesh
    diameter_mm: float
    symmetries: Array
    is_symmetric: bool

    @functools.cached_property
    def tree(self) -> cKDTree:
        """Nearest-neighbour tree of the vertices, built once per process."""
        from scipy.spatial import cKDTree

        return cKDTree(self.mesh.vertices)


@dataclasses.dataclass(frozen=True)
class ImageTruth:
    """Ground truth of one image, in file order: obj_id (G,), R (G, 3, 3), t (G, 3) mm, visible fraction (G,)."""

    obj_id: NDArray[np.int64]
    R: Array
    t: Array
    visib_fract: Array

    @classmethod
    def empty(cls) -> ImageTruth:
        """No instance."""
        return cls(np.zeros(0, np.int64), np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0))

    def of_object(self, obj_id: int) -> NDArray[np.int64]:
        """Ground-truth ids of one object, ascending."""
        return np.flatnonzero(self.obj_id == obj_id)


class World:
    """A dataset's split as the evaluation sees it; everything is read once and kept."""

    def __init__(self, dataset: BopDataset, split: str | None = None, models: str = "models_eval") -> None:
        self.dataset = dataset
        self.models = models
        self.assume_visible = False  # where scene_gt_info.json is missing, take every instance as wholly visible
        if not (dataset.root / models / "models_info.json").exists():
            raise InputError(
                f"{dataset.root / models}: not found or without models_info.json; scores need the dataset's "
                f"evaluation models (or name another folder with --models)"
            )
        self.facts: Facts = dataset_facts(dataset, split, models)
        self._objects: dict[int, EvaluatedObject] = {}
        self._truths: dict[ImageKey, ImageTruth] = {}
        self._scenes: dict[int, BopScene] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    @functools.cached_property
    def _infos(self) -> dict[int, dict[str, object]]:
        return self.dataset.models_info(self.models)

    def object(self, obj_id: int) -> EvaluatedObject:
        """An object with its evaluation model."""
        if obj_id not in self._objects:
            if obj_id not in self._infos:
                raise InputError(
                    f"{self.dataset.root / self.models / 'models_info.json'}: no entry for object {obj_id}"
                )
            info = self._infos[obj_id]
            mesh = _load_model(self.dataset.model_path(obj_id, self.models))
            self._objects[obj_id] = EvaluatedObject(
                obj_id=obj_id,
                mesh=Mesh(np.ascontiguousarray(mesh.vertices), np.ascontiguousarray(mesh.faces)),
                diameter_mm=float(info["diameter"]),  # type: ignore[arg-type]
                symmetries=np.ascontiguousarray(symmetry_transforms(info, SYMMETRY_STEP)),
                is_symmetric=obj_id in self.facts.symmetric_ids,
            )
        return self._objects[obj_id]

    def scene(self, scene_id: int) -> BopScene:
        """A scene of the split."""
        if scene_id not in self._scenes:
            self._scenes[scene_id] = self.dataset.scene(self.facts.split, scene_id)
        return self._scenes[scene_id]

    @functools.cached_property
    def scene_ids(self) -> list[int]:
        """All scenes of the split: the catalogue's where they are there, else the folders."""
        return self.dataset.scene_ids(self.facts.split)

    def truth(self, key: ImageKey) -> ImageTruth:
        """Ground truth of an image.

        Raises:
            InputError: the image is not annotated.
        """
        if key not in self._truths:
            scene = self.scene(key[0])
            if key[1] not in scene.ground_truth:
                raise InputError(f"{scene.annotation_file(INSTANCES)}: no entry for image {key[1]}, which is a target")
            instances = scene.ground_truth[key[1]]
            T = np.stack([i.T_cam_obj for i in instances]) if instances else np.zeros((0, 4, 4))
            self._truths[key] = ImageTruth(
                obj_id=np.array([i.obj_id for i in instances], dtype=np.int64),
                R=np.ascontiguousarray(T[:, :3, :3]),
                t=np.ascontiguousarray(T[:, :3, 3]),
                visib_fract=self._visible_fractions(scene, key[1], len(instances)),
            )
        return self._truths[key]

    def _visible_fractions(self, scene: BopScene, im_id: int, count: int) -> Array:
        if scene.has(INFOS):
            return np.array([info.visib_fract for info in scene.ground_truth_info[im_id]], dtype=np.float64)
        if self.assume_visible:
            return np.ones(count)
        file = scene.annotation_file(INFOS)
        raise InputError(f"{file}: not found; make it with workflow_scripts/annotate.py --dataset {self.dataset.root}")

    def image_size(self, key: ImageKey) -> tuple[int, int]:
        """Width and height of an image, from its depth or colour file."""
        scene = self.scene(key[0])
        if key[0] not in self._sizes:  # one size per scene
            self._sizes[key[0]] = scene.image_size(key[1])
        return self._sizes[key[0]]

    @functools.cached_property
    def targets(self) -> dict[ImageKey, dict[int, int]]:
        """Localisation targets: inst_count by object id, by image; from the file, else from visible fractions."""
        targets: dict[ImageKey, dict[int, int]] = {}
        for target in self._listed_targets():
            self._check_scene(target.scene_id)
            counts = targets.setdefault((target.scene_id, target.im_id), {})
            counts[target.obj_id] = counts.get(target.obj_id, 0) + target.inst_count
        return dict(sorted(targets.items()))

    def of_all_objects(self) -> World:
        """The same world with every visible object of the targets' images as a target."""
        other = copy.copy(self)
        other.targets = {}
        for target in self._visible_objects(list(self.targets)):
            other.targets.setdefault((target.scene_id, target.im_id), {})[target.obj_id] = target.inst_count
        return other

    @property
    def target_file(self) -> str | None:
        """Name of the file of localisation targets, None where they are derived from scene_gt_info.json."""
        name = f"{self.facts.split.split('_')[0]}_targets_bop19.json"
        return name if (self.dataset.root / name).exists() else None

    def _listed_targets(self) -> list[Target]:
        if self.target_file:
            return self.dataset.targets(self.target_file)
        return self._visible_objects(self.all_images)

    def _visible_objects(self, images: Sequence[ImageKey]) -> list[Target]:
        derived = []
        for key in images:
            truth = self.truth(key)
            for obj_id in np.unique(truth.obj_id):
                count = int(((truth.obj_id == obj_id) & (truth.visib_fract >= MIN_VISIBLE)).sum())
                if count:
                    derived.append(Target(*key, int(obj_id), count))
        return derived

    @functools.cached_property
    def all_images(self) -> list[ImageKey]:
        """All annotated images of the split."""
        return [(s, i) for s in self.scene_ids for i in sorted(self.scene(s).ground_truth)]

    @functools.cached_property
    def detection_images(self) -> list[ImageKey]:
        """Images of the detection task: of the bop24 target file, else of the localisation targets."""
        path = self.dataset.root / f"{self.facts.split.split('_')[0]}_targets_bop24.json"
        if not path.exists():
            return list(self.targets)
        try:
            keys = {(int(entry["scene_id"]), int(entry["im_id"])) for entry in read_json(path)}
        except KeyError as error:
            raise InputError(f"{path}: an entry has no key {error}") from None
        for scene_id in sorted({scene for scene, _ in keys}):
            self._check_scene(scene_id)
        return sorted(keys)

    def _check_scene(self, scene_id: int) -> None:
        if scene_id not in self.scene_ids:
            folder = self.dataset.root / self.facts.split
            raise InputError(f"{folder}: scene {scene_id:06d} is a target but has no folder; fetch the dataset again")


def _load_model(path: Path) -> Mesh:
    """A mesh; or points without faces (YCB-V as PoseCNN evaluates it), which suffice for all but VSD."""
    if path.exists():
        points = read_mesh(path)
        if not len(points.faces) and len(points.vertices) and np.isfinite(points.vertices).all():
            return points
    return load_mesh(path)
