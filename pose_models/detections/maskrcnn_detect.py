"""Detections of a trained Mask R-CNN in the one format of the house (`coco.py`)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pose_models.datasets.masks import encode
from pose_models.detections.maskrcnn import MaskRcnnModule


class Detector:
    """A trained detector on a device."""

    def __init__(self, module: MaskRcnnModule, device: str) -> None:
        self.module, self.device = module.to(device).eval(), device
        self.settings = module.settings.detect

    def records(self, image: NDArray[np.uint8], scene_id: int = 0, im_id: int = 0) -> list[dict[str, Any]]:
        """BOP COCO records of an image (H, W, 3) RGB, best first: boxes and masks of the visible parts.

        `time` is that of the whole image, from pixels in memory to run lengths.
        """
        start = time.perf_counter()
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
            found = self.module.network([pixels.permute(2, 0, 1).float() / 255])[0]
            masks = (found["masks"][:, 0] >= self.settings.mask_threshold).cpu().numpy()
            boxes = found["boxes"].double().cpu().numpy()
            scores, labels = found["scores"].double().cpu().numpy(), found["labels"].cpu().numpy()
        records = []
        for box, score, label, mask in zip(boxes, scores, labels, masks, strict=True):
            size = box[2:] - box[:2]
            if (size > 0).all():
                records.append(
                    {
                        "scene_id": scene_id,
                        "image_id": im_id,
                        "category_id": self.module.object_ids[int(label) - 1],
                        "score": float(score),
                        "bbox": [*box[:2].tolist(), *size.tolist()],
                        "segmentation": encode(mask),
                    }
                )
        seconds = time.perf_counter() - start
        return [{**record, "time": seconds} for record in records]
