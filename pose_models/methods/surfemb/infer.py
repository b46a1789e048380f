"""Inference of SurfEmb: images and detections to estimates, resumable image by image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.datasets.bop import BopDataset, BopScene, read_models_info
from pose_models.datasets.estimates import write_estimates
from pose_models.detections.coco import Detections
from pose_models.files import InputError, atomic_path, file_digest, json_digest, write_json
from pose_models.images.crops import Crop
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.partial import PartialResults
from pose_models.methods.passes import FILE, write_passes
from pose_models.methods.results import NO_POSE, Clock, detections_of_targets, infer_images, to_estimates
from pose_models.methods.surfemb.config import InferSettings, SurfEmbSettings
from pose_models.methods.surfemb.data import to_network
from pose_models.methods.surfemb.depth import corrected_translation, depth_correction, warp_depth
from pose_models.methods.surfemb.estimate import PoseEstimate, Surface, estimate_pose
from pose_models.methods.surfemb.model import SurfEmbModule, load_model
from pose_models.methods.surfemb.network import rotate_four, rotate_four_back
from pose_models.methods.surfemb.pictures import key_colors, query_colors
from pose_models.render.raycast import RayCaster

INSPECTED = 24
CROPS_AT_ONCE = 8  # of the network on a GPU


@dataclasses.dataclass(frozen=True)
class CropAnswer:
    """The network's answer on one crop: image (H, H, 3) uint8, K (3, 3), mask_logits (H, H), queries (H, H, E)."""

    image: NDArray[np.uint8]
    K: NDArray[np.float64]
    mask_logits: Tensor
    queries: Tensor


class Estimator:
    """A trained model with the surfaces of its objects."""

    def __init__(
        self, model: SurfEmbModule, settings: InferSettings, models: Path, surface_folder: Path, device: str
    ) -> None:
        self.model, self.settings, self.device = model.to(device), settings, device
        self.models, self.surface_folder = models, surface_folder
        self.diameters = {obj_id: info["diameter"] for obj_id, info in read_models_info(models).items()}
        self.surfaces: dict[int, Surface] = {}

    def surface(self, obj_id: int) -> Surface:
        """Samples, keys and mesh of an object; computed once."""
        if obj_id not in self.surfaces:
            self.surfaces[obj_id] = self._load_surface(obj_id)
        return self.surfaces[obj_id]

    def _load_surface(self, obj_id: int) -> Surface:
        index = self.model.object_index(obj_id)
        sphere, network = self.model.spheres[obj_id], self.model.key_networks[index]
        points, normals = read_surface(self.surface_folder / f"obj_{obj_id:06d}.npz", self.settings.surface_points)
        center = torch.tensor(sphere.center, dtype=torch.float32)
        with torch.no_grad():
            keys = network(((points - center) / sphere.radius).to(self.device))
        return Surface(
            points=points.to(self.device),
            normals=normals.to(self.device),
            keys=keys,
            key_function=network,
            caster=RayCaster(load_mesh(self.models / f"obj_{obj_id:06d}.ply")),
            sphere=sphere,
            diameter_mm=self.diameters[obj_id],
        )

    def crop(self, box: NDArray[Any]) -> Crop:
        """The crop around a box (left, top, right, bottom), rounded to whole pixels as the release does."""
        return Crop.from_box(np.round(box), self.model.settings.crop.side, self.model.settings.crop.scale)

    def answer(self, image: NDArray[np.uint8], K: NDArray[np.float64], obj_id: int, box: NDArray[Any]) -> CropAnswer:
        """Run the network on the crop around a box (left, top, right, bottom) of an image with intrinsics K."""
        return self.answer_crop(image, K, obj_id, self.crop(box))

    def answer_crop(self, image: NDArray[np.uint8], K: NDArray[np.float64], obj_id: int, crop: Crop) -> CropAnswer:
        """Run the network on a crop of an image with intrinsics K."""
        return self.answer_crops(image, K, [obj_id], [crop])[0]

    def answer_crops(
        self, image: NDArray[np.uint8], K: NDArray[np.float64], obj_ids: Sequence[int], crops: Sequence[Crop]
    ) -> list[CropAnswer]:
        """Run the network on crops of an image with intrinsics K: several at once on a GPU, one by one on a CPU."""
        step, answers = (1 if self.device == "cpu" else CROPS_AT_ONCE), []
        for start in range(0, len(crops), step):
            pixels = [crop.warp(image).astype(np.uint8, copy=False) for crop in crops[start : start + step]]
            outputs = self._outputs(torch.stack([to_network(p) for p in pixels]), obj_ids[start : start + step])
            for crop, p, output in zip(crops[start : start + step], pixels, outputs, strict=True):
                queries = output[1:].permute(1, 2, 0).contiguous()
                answers.append(CropAnswer(p, crop.intrinsics(K), output[0], queries))
        return answers

    def _outputs(self, inputs: Tensor, obj_ids: Sequence[int]) -> Tensor:
        """Mask logits and queries (N, 1 + E, H, H) of crops (N, 3, H, H), means over rotations where those are on."""
        network, turned = self.model.query_network, self.settings.rotation_ensemble
        inputs = inputs.to(self.device)
        batch = torch.cat([rotate_four(crop) for crop in inputs]) if turned else inputs
        indices = [self.model.object_index(obj_id) for obj_id in obj_ids]
        index = torch.tensor(indices, device=self.device).repeat_interleave(len(batch) // len(inputs))
        with torch.no_grad():
            output = network.full_resolution(network(batch.to(memory_format=torch.channels_last), index))
        if not turned:
            return output
        return torch.stack([rotate_four_back(four).mean(dim=0) for four in torch.split(output, 4)])

    def estimate(self, answer: CropAnswer, obj_id: int, rng: np.random.Generator) -> PoseEstimate | None:
        """Pose of one crop."""
        return estimate_pose(answer.mask_logits, answer.queries, answer.K, self.surface(obj_id), self.settings, rng)

    def correct_depth(
        self, answer: CropAnswer, T: NDArray[np.float64], obj_id: int, depth_mm: NDArray[np.float32], K: Any
    ) -> NDArray[np.float64]:
        """Pose (4, 4) moved along one ray by the median depth residual of an image with intrinsics K."""
        side = answer.image.shape[0]
        valid, sensor = warp_depth(depth_mm, K, answer.K, side)
        rendered = self.surface(obj_id).caster.cast(answer.K, T, side, side).depth
        queries, logits = answer.queries.cpu().numpy(), answer.mask_logits.cpu().numpy()
        correction = depth_correction(rendered, valid, sensor, queries, logits, answer.K)
        corrected = T.copy()
        corrected[:3, 3] = corrected_translation(T[:3, 3], correction)
        return corrected


def read_surface(path: Path, limit: int = 0) -> tuple[Tensor, Tensor]:
    """Surface samples: points (m, 3) mm and normals (m, 3), float32; the first `limit` of a random order if limit > 0.

    Raises:
        InputError: the file is missing or lacks an array.
    """
    if not path.exists():
        raise InputError(f"{path}: surface samples not found; run sample_surface.py first")
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"points", "normals"} - set(arrays.files)
        if missing:
            raise InputError(f"{path}: has no array '{sorted(missing)[0]}'; make the surface samples again")
        points, normals = arrays["points"].astype(np.float32), arrays["normals"].astype(np.float32)
    if limit and limit < len(points):
        chosen = np.sort(np.random.default_rng(0).choice(len(points), limit, replace=False))
        points, normals = points[chosen], normals[chosen]
    return torch.from_numpy(points), torch.from_numpy(normals)


def infer(
    settings: SurfEmbSettings, checkpoint: Path, dataset_folder: Path, split: str, detections_file: Path,
    surface_folder: Path, out: Path, device: str,
) -> None:  # fmt: skip
    """Estimate the pose of every detection of a target object and write `out` in BOP format.

    A killed run continues at the image where it was. Beside `out` lie `settings.json`; `poses.npz`: poses before and
    after refinement and seconds by stage; `inspect.npz`: crops, probabilities and embeddings to look at.
    """
    model = load_model(checkpoint)
    if model.settings.network != settings.network or model.settings.crop.side != settings.crop.side:
        raise InputError(f"{checkpoint}: was trained with other network or crop settings than these")
    dataset = BopDataset(dataset_folder)
    detections = detections_of_targets(detections_file, dataset, split)
    estimator = Estimator(model, settings.infer, dataset.models, surface_folder, device)
    surfaces = [file_digest(surface_folder / f"obj_{i:06d}.npz") for i in np.unique(detections.obj_id).tolist()]
    inputs = [settings.infer.digest(), file_digest(checkpoint), file_digest(detections_file), *surfaces]
    inspected = set(np.linspace(0, len(detections) - 1, INSPECTED).astype(int).tolist())
    scenes = {scene_id: dataset.scene(split, scene_id) for scene_id in np.unique(detections.scene_id).tolist()}
    with PartialResults(out, key=json_digest(inputs)) as partial:
        of_image = functools.partial(_infer_image, estimator, detections)
        records = infer_images(partial, dataset, split, detections, of_image)
        _write_inspection(out.parent / "inspect.npz", estimator, scenes, detections, sorted(inspected), records)
        T = np.array([NO_POSE if record["T"] is None else record["T"] for record in records]).reshape(-1, 4, 4)
        score = np.array([np.nan if record["score"] is None else record["score"] for record in records])
        seconds = np.array([record["seconds"] for record in records])
        _write_poses(out.parent / FILE, detections, records)
        write_json(out.parent / "settings.json", settings.model_dump(mode="json"))
        write_estimates(out, to_estimates(detections.select([r["row"] for r in records]), T, score, seconds))
    failed = sum(record["T"] is None for record in records)
    print(f"{len(records)} detections, {failed} without a pose (left out of {out.name})")


def _infer_image(
    estimator: Estimator, detections: Detections, scene: BopScene, im_id: int, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Records of one image's detections: row, pose or None, score, seconds for this detection alone."""
    image, K = scene.rgb(im_id), scene.camera(im_id).K
    depth = scene.depth(im_id) if estimator.settings.depth else None
    records = []
    obj_ids = detections.obj_id[rows].tolist()
    for obj_id in obj_ids:
        estimator.surface(obj_id)  # keys and ray caster are made once per object and not timed
    clock = Clock(estimator.device)
    answers = estimator.answer_crops(image, K, obj_ids, [estimator.crop(box) for box in detections.bbox_ltrb[rows]])
    clock.lap("network")
    network_seconds = clock.times["network"] / len(rows)
    for number, (row, obj_id, answer) in enumerate(zip(rows.tolist(), obj_ids, answers, strict=True)):
        rng = np.random.default_rng([estimator.settings.seed, scene.scene_id, im_id, number])
        clock = Clock(estimator.device)
        found = estimator.estimate(answer, obj_id, rng)
        clock.lap("pose")
        record: dict[str, Any] = {"row": row, "T": None, "score": None}
        if found is not None:
            poses = [found.T_unrefined, found.T_cam_obj]
            if depth is not None:
                poses = [estimator.correct_depth(answer, T, obj_id, depth, K) for T in poses]
                clock.lap("depth")
            record |= {"T": poses[1].tolist(), "T_unrefined": poses[0].tolist(), "score": found.score}
            record |= {"objective": found.objective, "hypotheses": found.scored}
        seconds = network_seconds + sum(clock.times.values())
        stages = {"network": network_seconds, **clock.times, **(found.times if found else {})}
        records.append(record | {"seconds": seconds, "stages": stages})
    return records


def _write_poses(path: Path, detections: Detections, records: list[dict[str, Any]]) -> None:
    """Poses before and after refinement, both after depth correction where it is on.

    Besides: objective (N, 2) before and after, nan where there is no pose; hypotheses (N,) scored.
    """
    T = np.array([[r.get(name) or NO_POSE for name in ("T_unrefined", "T")] for r in records], dtype=np.float64)
    score = np.array([np.nan if r["score"] is None else r["score"] for r in records], dtype=np.float64)
    more = {
        "objective": np.array([r.get("objective", (np.nan, np.nan)) for r in records]),
        "hypotheses": np.array([r.get("hypotheses", 0) for r in records]),
    }
    done = detections.select([record["row"] for record in records])
    write_passes(path, done, ("search", "refinement"), T, score, [record["stages"] for record in records], **more)


def _write_inspection(
    path: Path, estimator: Estimator, scenes: dict[int, BopScene], detections: Detections, rows: list[int],
    records: list[dict[str, Any]],
) -> None:  # fmt: skip
    """Crops with mask probability, queries and the keys rendered at the estimated pose, as arrays to draw."""
    by_row = {record["row"]: record for record in records}
    views: dict[str, list[Any]] = {}
    for row in rows:
        record = by_row[row]
        ids = (detections.scene_id[row], detections.im_id[row], detections.obj_id[row])
        scene_id, im_id, obj_id = (int(value) for value in ids)
        scene = scenes[scene_id]
        answer = estimator.answer(scene.rgb(im_id), scene.camera(im_id).K, obj_id, detections.bbox_ltrb[row])
        T = NO_POSE if record["T"] is None else np.array(record["T"])
        view = {
            "crop": answer.image,
            "mask_prob": torch.sigmoid(answer.mask_logits).cpu().numpy(),
            "query_vis": query_colors(answer.queries.cpu().numpy()),
            "key_vis": _key_colors(estimator.surface(obj_id), answer, T),
            "K_crop": answer.K,
            "T_est": T,
            "index": np.array([scene_id, im_id, obj_id, np.nan if record["score"] is None else record["score"]]),
        }
        for name, value in view.items():
            views.setdefault(name, []).append(value)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stacked: dict[str, Any] = {name: np.stack(values) for name, values in views.items()}
        np.savez_compressed(stream, **stacked)


def _key_colors(surface: Surface, answer: CropAnswer, T: NDArray[np.float64]) -> NDArray[np.uint8]:
    side = answer.image.shape[0]
    if not np.isfinite(T).all():
        return np.zeros((side, side, 3), dtype=np.uint8)
    hits = surface.caster.cast(answer.K, T, side, side)
    normalised = (surface.caster.coordinates(hits) - np.asarray(surface.sphere.center)) / surface.sphere.radius
    with torch.no_grad():
        keys = surface.key_function(torch.as_tensor(normalised).to(surface.keys)).cpu().numpy()
    return key_colors(keys, hits.mask, surface.keys.mean(dim=0).cpu().numpy())
