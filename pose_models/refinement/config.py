"""Settings of the refinement against depth; defaults are the paper's where it has them (cosypose.md section 15)."""

from __future__ import annotations

from pydantic import Field

from pose_models.settings import Settings


class IcpSettings(Settings):
    """Point-to-plane ICP from coarse to fine."""

    iterations: int = Field(100, ge=1, description="most steps of the finest level; level k has 1 / (k + 1) of them")
    tolerance: float = Field(
        0.05, ge=0, description="a level ends where a step changes the rmse by less than this share"
    )
    levels: int = Field(4, ge=1, description="levels; level k uses every 2^k-th point")
    rejection: float = Field(2.5, gt=0, description="pairs farther than this many robust sigmas are dropped")
    points: int = Field(2000, ge=1, description="most points of the object's visible side")


class DepthRefinementSettings(Settings):
    """Refinement of single estimates against the depth image."""

    near_mm: float = Field(200.0, ge=0, description="nearer depth is not used")
    far_mm: float = Field(5000.0, gt=0, description="farther depth is not used")
    min_points: int = Field(1000, ge=6, description="a pose stays as it is where fewer pixels show the object")
    reach: float = Field(0.5, gt=0, description="how far a pose may be off, as a share of the object's diameter")
    rounds: int = Field(2, ge=1, description="how often the visible side is rendered and aligned")
    tolerance_mm: float = Field(10.0, gt=0, description="depth that differs by less than this speaks for a pose")
    min_gain: float = Field(
        0.03,
        ge=0,
        description="a refined pose is taken where the depth image confirms this much more of its silhouette",
    )
    register_depth: bool = Field(
        True,
        description="find by how many pixels depth lies beside colour, from many estimates at once, and allow for it",
    )
    max_residual: float = Field(
        0.05, gt=0, description="faithful: a refined pose is taken where the rmse is at most this share of the size"
    )
    faithful: bool = Field(
        False,
        description="as published: whole offsets from the principal point, the silhouette alone as mask, one start at "
        "its centroid, accepted by the residual of the alignment alone",
    )
    icp: IcpSettings = IcpSettings()
