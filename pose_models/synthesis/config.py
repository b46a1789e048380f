"""Settings of the scene generator: what is put where, how it is seen, and four named looks.

`train` and `test` are bin scenes settled by physics, of different lights, colours, cameras and noise; `random` shows
floating parts in any pose with random textures, to train for real photographs; `cosypose` is the recording that
CosyPose was trained on: parts that fall or float in a room of random textures (cosypose.md section 8).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pose_models.settings import Settings

Range = tuple[float, float]
Look = Literal["train", "test", "random", "cosypose"]


class SceneSettings(Settings):
    """One scene folder's images. Lengths in mm, angles in degrees; ranges are drawn from uniformly."""

    look: Look = Field("train", description="named set of lights, materials, backgrounds and sensor noise")
    width: int = Field(320, ge=32, description="image width in pixels (a window of the sensor in camera.json)")
    height: int = Field(240, ge=32, description="image height in pixels")
    focal_scale: Range = Field((0.9, 1.1), description="focal length, as a multiple of camera.json's")
    layout: Literal["bin", "floating", "room"] = Field(
        "bin", description="parts settled in a bin by physics, floating before the camera, or in a textured room"
    )
    instances: tuple[int, int] = Field((7, 11), description="fewest and most parts in a scene")
    distractors: tuple[int, int] = Field((0, 3), description="fewest and most foreign shapes in a scene")
    images_per_arrangement: int = Field(12, ge=1, description="views of one settled arrangement")
    bin_size_mm: Range = Field((210, 270), description="inner side lengths of the bin")
    wall_height_mm: Range = Field((15, 50), description="height of the bin's walls")
    distance_mm: Range = Field((430, 680), description="camera to the point it looks at (bins and rooms)")
    elevation_deg: Range = Field((35, 90), description="camera above the floor, 90 looks straight down")
    object_px: Range = Field((50, 130), description="projected diameter of a part (floating scenes)")
    falling: float = Field(0.5, ge=0, le=1, description="share of the rooms where parts fall on a ground plane")
    retextured: float = Field(0.5, ge=0, le=1, description="share of coloured models shown in other colours")
    lights: tuple[int, int] = Field((1, 3), description="fewest and most lamps")
    depth_noise_mm: float = Field(0.0, ge=0, description="standard deviation of the depth image's noise")
    depth_scale: float = Field(0.1, gt=0, description="mm per unit of the depth image")

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> SceneSettings:
        for name, value in self:
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name}: the first number must not be larger than the second")
        if self.instances[0] < 1:
            raise ValueError("instances: at least one part is needed")
        return self


PRESETS: dict[Look, dict[str, object]] = {
    "train": {},
    "test": {
        "look": "test",
        "width": 640,
        "height": 480,
        "focal_scale": (1.0, 1.0),
        "instances": (8, 11),
        "distractors": (0, 2),
        "images_per_arrangement": 5,
        "bin_size_mm": (230, 290),
        "wall_height_mm": (40, 60),
        "distance_mm": (450, 620),
        "elevation_deg": (40, 85),
        "lights": (2, 2),
        "depth_noise_mm": 0.4,
    },
    "random": {
        "look": "random",
        "focal_scale": (0.8, 1.25),
        "layout": "floating",
        "instances": (7, 12),
        "distractors": (2, 7),
        "images_per_arrangement": 1,
        "lights": (1, 4),
    },
    "cosypose": {
        "look": "cosypose",
        "width": 640,
        "height": 480,
        "focal_scale": (0.9907, 1.0093),
        "layout": "room",
        "instances": (3, 9),
        "distractors": (0, 0),
        "images_per_arrangement": 1,
        "distance_mm": (500, 1500),
        "elevation_deg": (0, 90),
        "retextured": 0.0,
        "lights": (1, 1),
    },
}
