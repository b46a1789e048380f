"""Settings of the multi-view stage; defaults are the paper's (cosypose.md sections 12 and 13)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pose_models.settings import Settings


class MatchSettings(Settings):
    """Matching of candidates across views."""

    min_score: float = Field(0.3, description="candidates with a lower score are left out of matching")
    threshold_mm: float = Field(20.0, gt=0, description="largest distance of two candidates that meet")
    max_hypotheses: int = Field(2000, ge=1, description="relative poses tried per ordered pair of views")
    min_inliers: int = Field(3, ge=1, description="matches that a relative pose needs, cameras unknown")
    min_inliers_known_cameras: int = Field(1, ge=1, description="the same with known cameras")
    rotations: int = Field(64, ge=1, description="rotations that stand for a continuous symmetry")
    seed: int = Field(0, ge=0, description="seed of the choice where there are more hypotheses than tried")
    faithful: bool = Field(
        False,
        description="repeat what the reference loses: the first hypothesis, pairs of known cameras with one match",
    )


class AdjustSettings(Settings):
    """Bundle adjustment of objects and cameras."""

    mode: Literal["robust", "faithful"] = Field(
        "robust", description="`robust`: six numbers per pose, outliers weighed down; `faithful`: the reference's steps"
    )
    iterations: int = Field(100, ge=0, description="most Levenberg-Marquardt steps")
    outlier_px: float = Field(5.0, gt=0, description="residuals count at most as this many pixels")


class MultiviewSettings(Settings):
    """The multi-view stage."""

    views: int = Field(8, ge=1, description="views per group")
    scores: Literal["given", "rank"] = Field(
        "given",
        description="what candidates' scores are: `given`: of 0 to 1, as detectors give them; `rank`: any numbers, "
        "replaced by the share of the object's estimates that are no better (then match.min_score is a share too)",
    )
    known_cameras: bool = Field(False, description="take the camera poses of the dataset instead of finding them")
    nms_mm: float = Field(40.0, ge=0, description="of objects nearer to each other than this, only the best is shown")
    match: MatchSettings = MatchSettings()
    adjust: AdjustSettings = AdjustSettings()
