"""Settings of the photorealistic generator: the recipe of the BOP Challenge's training images (BlenderProc4BOP).

A room of textured planes, objects dropped by physics, light from the ceiling and from a lamp, cameras on a shell around
the pile. The looks named after data sets hold the figures that were published with those sets' images.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pose_models.settings import Settings

Range = tuple[float, float]
BlenderLook = Literal["bop", "tless", "ycbv", "itodd"]


class BlenderSettings(Settings):
    """One shard of path-traced images. Lengths in mm, angles in degrees; ranges are drawn from uniformly."""

    width: int | None = Field(None, ge=32, description="image width in pixels; null: the sensor's (camera.json)")
    height: int | None = Field(None, ge=32, description="image height in pixels; null: the sensor's")
    samples: int = Field(50, ge=1, description="paths per pixel; noise is taken out by Cycles' denoiser")
    instances: tuple[int, int] = Field((15, 20), description="fewest and most objects in a scene")
    distractors: tuple[int, int] = Field((4, 6), description="fewest and most foreign objects in a scene")
    distractor_folders: tuple[str, ...] = Field(
        (), description="folders of obj_*.ply to take foreign objects from; none: procedural shapes"
    )
    images_per_arrangement: int = Field(25, ge=1, description="views of one pile")
    drop_half_mm: Range = Field((200, 300), description="half side of the column of air that objects start in")
    drop_height_mm: Range = Field((400, 600), description="height of that column")
    collision_margin_mm: float = Field(1.0, ge=0, description="distance at which physics takes objects to touch")
    physics_substeps: int = Field(20, ge=1, description="steps of physics per frame; small objects need more")
    room_half_mm: float = Field(2000, gt=0, description="half side of the room")
    distance_mm: Range = Field((650, 940), description="camera to the middle of the floor, as in the test images")
    elevation_deg: Range = Field((5, 89), description="camera above the floor, 90 looks straight down")
    nearest_mm: float = Field(300, gt=0, description="no object is nearer to the camera")
    ceiling_strength: Range = Field((3, 6), description="emission of the ceiling")
    lamp_watt: float = Field(100, ge=0, description="power of the point light")
    lamp_distance_mm: Range = Field((1000, 1500), description="point light to the middle of the floor")
    grey: Range = Field((0.1, 0.9), description="base colour of objects without colours of their own")
    roughness: Range = Field((0, 1), description="of the objects' materials")
    specular: Range = Field((0, 1), description="of the objects' materials")
    metallic: Range = Field((0, 0), description="of the objects' materials")
    depth_scale: float = Field(0.1, gt=0, description="mm per unit of the depth image")
    placing_limit_s: float = Field(900, gt=0, description="seconds after which placing a pile counts as hung")

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> BlenderSettings:
        for name, value in self:
            if name != "distractor_folders" and isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name}: the first number must not be larger than the second")
        if self.instances[0] < 1:
            raise ValueError("instances: at least one object is needed")
        return self


BLENDER_PRESETS: dict[BlenderLook, dict[str, object]] = {
    "bop": {},
    "tless": {
        "instances": (20, 20),
        "distractors": (6, 6),
        "roughness": (0, 0.5),
        "specular": (0.3, 1),
        "metallic": (0, 0.5),
    },
    "ycbv": {"instances": (21, 21), "distractors": (6, 6), "distance_mm": (610, 1240), "lamp_watt": 200},
    "itodd": {
        "instances": (25, 25),
        "distractors": (5, 5),
        "collision_margin_mm": 0.5,
        "physics_substeps": 50,
        "distance_mm": (640, 780),
        "ceiling_strength": (0.1, 0.5),
        "lamp_watt": 20,
        "lamp_distance_mm": (500, 1500),
        "grey": (0.1, 0.7),
        "roughness": (0, 0.5),
        "specular": (0.3, 1),
        "metallic": (0, 1),
    },
}
