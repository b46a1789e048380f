"""What a description of own photographs may say: models, photographs, cameras, reference poses, symmetries.

Lengths carry their unit in the file and become millimetres when they are read.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pose_models.settings import Settings

Vector = tuple[float, float, float]
Row = tuple[float, float, float, float]
Unit = Literal["mm", "cm", "m"]
MM_PER_UNIT: dict[str, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


class Turn(Settings):
    """A discrete symmetry: a turn that maps the object onto itself, in the model's frame (after `shift`)."""

    axis: Vector = Field(description="direction of the axis, of any length")
    angle_deg: float = Field(180.0, gt=0, lt=360, description="angle of the turn in degrees")
    center_mm: Vector = Field((0.0, 0.0, 0.0), description="a point on the axis, mm")


class Revolution(Settings):
    """A continuous symmetry: any turn about an axis maps the object onto itself."""

    axis: Vector = Field(description="direction of the axis, of any length")
    center_mm: Vector = Field((0.0, 0.0, 0.0), description="a point on the axis, mm")


class ModelDescription(Settings):
    """A CAD model."""

    file: str = Field(description="PLY or OBJ file, relative to the folder")
    unit: Unit = Field("mm", description="unit of the file's vertices and of `shift`")
    shift: Vector = Field((0.0, 0.0, 0.0), description="added to every vertex: the frame in which the poses are given")
    name: str = Field("", description="what it is, for people")
    turns: tuple[Turn, ...] = Field((), description="discrete symmetries; their products are added by themselves")
    revolutions: tuple[Revolution, ...] = Field((), description="continuous symmetries")


class CameraDescription(Settings):
    """Pinhole camera without distortion; pixel centres at integers."""

    fx: float = Field(gt=0, description="px")
    fy: float = Field(gt=0, description="px")
    cx: float = Field(description="px")
    cy: float = Field(description="px")


class PoseDescription(Settings):
    """A rigid transform: `matrix`, or `t` with one of `R` and `rotvec`."""

    matrix: tuple[Row, Row, Row, Row] | None = Field(None, description="4 x 4")
    R: tuple[Vector, Vector, Vector] | None = Field(None, description="3 x 3")
    rotvec: Vector | None = Field(None, description="rotation vector, rad")
    t: Vector | None = Field(None, description="translation")
    unit: Unit = Field("mm", description="unit of the translation")

    @model_validator(mode="after")
    def _is_complete(self) -> PoseDescription:
        if sum(part is not None for part in (self.matrix, self.R, self.rotvec)) != 1:
            raise ValueError("give exactly one of matrix, R and rotvec")
        if (self.matrix is None) == (self.t is None):
            raise ValueError("t belongs to R and rotvec (and matrix has its own)")
        return self


class DepthDescription(Settings):
    """A depth image, of the same camera or of another one beside it."""

    file: str = Field(description="16-bit image, relative to the folder")
    mm_per_unit: float = Field(1.0, gt=0, description="mm along z per pixel value")
    invalid: tuple[int, ...] = Field((0, 65535), description="pixel values that mean: not measured")
    camera: CameraDescription | None = Field(None, description="the depth camera; null if it is the colour camera")
    color_from_depth: PoseDescription | None = Field(None, description="depth camera to colour camera")

    @model_validator(mode="after")
    def _cameras_go_together(self) -> DepthDescription:
        if (self.camera is None) != (self.color_from_depth is None):
            raise ValueError("camera and color_from_depth belong together")
        return self


class ObjectDescription(Settings):
    """One object in a photograph with its reference pose (model to camera)."""

    model: int = Field(ge=1, description="number of the model")
    pose: PoseDescription = Field(description="model frame to colour camera")
    pose_source: str = Field("", description="who measured the pose and how well")
    outline: tuple[tuple[float, float], ...] = Field(
        (), description="polygon of the whole silhouette as seen in the photograph, px; empty: none drawn"
    )

    @model_validator(mode="after")
    def _outline_is_a_polygon(self) -> ObjectDescription:
        if 0 < len(self.outline) < 3:
            raise ValueError("outline needs at least 3 points")
        return self


class PhotoDescription(Settings):
    """One photograph."""

    scene: int = Field(ge=0, description="scene number")
    image: int = Field(0, ge=0, description="image number in the scene")
    file: str = Field(description="PNG or JPEG, relative to the folder")
    camera: CameraDescription = Field(description="the colour camera")
    depth: DepthDescription | None = Field(None, description="depth image, if there is one")
    objects: tuple[ObjectDescription, ...] = Field(min_length=1, description="what is to be found in the photograph")


class PhotosDescription(Settings):
    """A folder of photographs with CAD models."""

    title: str = Field("", description="what the photographs show")
    delta_mm: float = Field(
        15.0, gt=0, description="how far behind the measured surface a point still counts as visible"
    )
    models: dict[int, ModelDescription] = Field(min_length=1, description="models by number")
    photos: tuple[PhotoDescription, ...] = Field(min_length=1, description="photographs")

    @model_validator(mode="after")
    def _numbers_fit(self) -> PhotosDescription:
        places = [(photo.scene, photo.image) for photo in self.photos]
        if len(set(places)) != len(places):
            raise ValueError("photos: two photographs have the same scene and image number")
        for index, photo in enumerate(self.photos):
            for entry in photo.objects:
                if entry.model not in self.models:
                    raise ValueError(f"photos.{index}: model {entry.model} is not under models")
        return self
