"""Settings of SurfEmb; the defaults are the paper's (surfemb.md sections 4, 7, 9, 11)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pose_models.settings import Settings
from pose_models.training.config import TrainSettings


class NetworkSettings(Settings):
    """The image (query) network and the surface (key) networks."""

    backbone: Literal["resnet18", "small"] = Field(
        "resnet18", description="image network: the paper's ResNet-18 U-Net, or a small U-Net for CPUs"
    )
    pretrained: bool = Field(True, description="start the ResNet-18 encoder from ImageNet weights (downloaded once)")
    separate_decoders: bool = Field(True, description="one decoder per object (paper), or one for all objects")
    embedding_dim: int = Field(12, ge=3, description="length of queries and keys")
    key_width: int = Field(256, ge=8, description="width of the key MLP's sine layers")
    key_omega: float = Field(
        30.0, gt=0, description="frequency of the key MLP's first layer; smaller ones give smoother keys, sooner learnt"
    )
    key_gain: float = Field(
        1.0, gt=0, description="factor on the key MLP's initial output; short trainings leave the start sooner with 30"
    )
    key_hidden_layers: int = Field(2, ge=0, description="sine layers after the first one")


class CropSettings(Settings):
    """Which instances are trained on and how they are cropped."""

    side: int = Field(
        224, ge=32, multiple_of=16, description="crop side in pixels; a multiple of 32 for resnet18, of 16 for small"
    )
    scale: float = Field(1.2, ge=1, description="crop side over the box's longer side")
    augment: bool = Field(True, description="photometric augmentation of the training crops")
    min_visib_fract: float = Field(0.1, ge=0, le=1, description="instances less visible than this are not trained on")
    min_visib_px: int = Field(1024, ge=1, description="instances with fewer visible pixels are not trained on")


class LossSettings(Settings):
    """The contrastive loss."""

    positives: int = Field(1024, ge=1, description="pixels of the object sampled per crop")
    negatives: int = Field(1024, ge=1, description="surface points sampled per crop, shared by its pixels")
    key_noise: float = Field(1e-3, ge=0, description="normal noise on surface points, in bounding-sphere radii")
    lr_image: float = Field(1e-4, gt=0, description="learning rate of the image network")
    lr_key: float = Field(3e-5, gt=0, description="learning rate of the key MLPs")


class InferSettings(Settings):
    """From crop to pose."""

    rotation_ensemble: bool = Field(True, description="average the network over four rotations of the crop")
    downsample: int = Field(3, ge=1, description="crop pixels per cell of the maps that poses are sampled from")
    alpha: float = Field(1.5, gt=0, description="exponent that sharpens the correspondence distribution")
    hypotheses: int = Field(10_000, ge=1, description="minimal sets drawn per detection")
    scored: int = Field(1_000, ge=1, description="hypotheses scored per detection, the first that survive pruning")
    p3p_solution: Literal["random", "fourth_point"] = Field(
        "fourth_point",
        description="which of up to four P3P solutions is kept: a random one (paper's release), or the one that "
        "reprojects the fourth correspondence best",
    )
    use_normals: bool = Field(True, description="drop hypotheses whose sampled points face away from the camera")
    min_spread: float = Field(0.1, ge=0, description="least extent of a minimal set, in crop sides")
    max_pool: bool = Field(True, description="pool the maps over 3x3 cells when scoring")
    average_queries: bool = Field(True, description="average queries inside a cell (else use single pixels)")
    refine_steps: int = Field(1200, ge=0, description="BFGS iterations at most; 0 switches refinement off")
    refine_keys: int = Field(4096, ge=1, description="surface points in the denominator of the refinement")
    erosion: int = Field(
        0, ge=0, description="pixels by which the set of visible points shrinks before refinement; the release has 0"
    )
    rescore: bool = Field(
        True, description="give an estimate the score of its refined pose (the release: of the unrefined one)"
    )
    faithful: bool = Field(
        False,
        description="reproduce the published release: a refinement that starts on a kink of the objective and has no "
        "safeguard; overrides p3p_solution (random), erosion (0) and rescore (false)",
    )
    depth: bool = Field(False, description="correct the distance by the depth image (the paper's RGB-D entries)")
    surface_points: int = Field(0, ge=0, description="use a random subset of this many surface samples; 0 for all")
    seed: int = Field(0, description="seed of the sampling")

    def effective(self) -> InferSettings:
        """These settings with what `faithful` overrides."""
        published = {"p3p_solution": "random", "erosion": 0, "rescore": False}
        return self.model_copy(update=published) if self.faithful else self


class SurfEmbSettings(Settings):
    """All settings of SurfEmb. `network`, `crop`, `loss` and `train` decide the checkpoint, `infer` the estimates."""

    network: NetworkSettings = NetworkSettings()
    crop: CropSettings = CropSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
    infer: InferSettings = InferSettings()

    @model_validator(mode="after")
    def _side_suits_the_network(self) -> SurfEmbSettings:
        if self.network.backbone == "resnet18" and self.crop.side % 32:
            raise ValueError("crop.side must be a multiple of 32 for network.backbone resnet18")
        return self
