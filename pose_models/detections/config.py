"""Settings of the detection sources."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pose_models.settings import Settings


class SimulatedSettings(Settings):
    """Boxes that a detector might have given, made from the ground truth (the source named `simulated`).

    Defaults give a mean IoU of 0.87 with the true box, what a Mask R-CNN trained on rendered images reaches.
    """

    box: Literal["amodal", "visible"] = Field(
        "amodal", description="box of the whole silhouette, or of its visible part"
    )
    center_jitter: float = Field(
        0.035, ge=0, description="standard deviation of the centre's shift, share of width/height"
    )
    size_jitter: float = Field(0.055, ge=0, description="standard deviation of the logarithm of width and of height")
    visib_half: float = Field(0.15, ge=0, le=1, description="visible fraction at which half of the instances are found")
    visib_spread: float = Field(0.03, gt=0, description="how gradually the share found grows around visib_half")
    score_noise: float = Field(0.05, ge=0, description="standard deviation of the score around IoU x visibility")
    false_positives: float = Field(0.0, ge=0, description="mean number of false boxes per image")
