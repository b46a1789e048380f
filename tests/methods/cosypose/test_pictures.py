"""The picture of validation: what the networks see, and where a pass moves the object."""

import cv2
import numpy as np
import torch

from pose_models.datasets.bop import BopScene, read_models_info
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.cosypose.config import CosyPoseSettings
from pose_models.methods.cosypose.data import PoseSamples
from pose_models.methods.cosypose.model import CosyPoseModule
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.methods.cosypose.pictures import AFTER, LINE_PX, START, TRUE, symmetric_add
from pose_models.methods.cosypose.poses import updated
from pose_models.settings import resolve
from tests.methods.cosypose.conftest import UNTRAINED

HEIGHT, WIDTH, SCALE = 48, 64, 3  # of the crops; 144 px are three times 48


def painted(panel: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (panel == color).all(axis=2)


def test_a_picture_shows_crop_renders_and_outlines_of_every_sample_and_stage(small):
    settings = resolve(
        CosyPoseSettings, [*UNTRAINED, "network.backbone=resnet18", "data.augment=0", "data.background=0"]
    )
    infos = read_models_info(small / "models")
    meshes = {i: load_mesh(small / "models" / f"obj_{i:06d}.ply", texture=True) for i in infos}
    table = ObjectTable.of(meshes, infos, rotations=8)
    torch.manual_seed(0)
    module = CosyPoseModule(settings, table.ids).eval()
    module.show(meshes, table)
    with torch.no_grad():  # a pass that moves objects to the right: 9 px of the crop
        for network in module.networks.values():
            network.pose_fc.weight.zero_()
            network.pose_fc.bias[6] = 9 / network.unit[6]
    samples = PoseSamples([BopScene(small / "train_synt" / "000000")], table, settings)
    batch = torch.utils.data.default_collate([samples.sample(number) for number in range(2)])
    picture = module.validation_picture(batch)
    high, wide = SCALE * HEIGHT, SCALE * WIDTH
    assert picture.shape == (LINE_PX + 4 * (LINE_PX + high), 4 * wide, 3)

    rows = [picture[LINE_PX + n * (LINE_PX + high) :][LINE_PX : LINE_PX + high] for n in range(4)]
    one = torch.tensor([0, 1])
    for stage, mine in (("coarse", rows[0::2]), ("refiner", rows[1::2])):
        seen = module.comparer.compare(batch["image"], one, batch["K"], batch["object_index"], batch[f"start_{stage}"])
        output = torch.tensor([[1.0, 0, 0, 0, 1, 0, 9, 0, 1]]).repeat(2, 1)
        after = updated(batch[f"start_{stage}"], output, seen.K_crop)
        moved = module.comparer.draw(batch["object_index"], after, seen.K_crop).images
        for number, row in enumerate(mine):
            crop, start, later, lines = np.split(row, 4, axis=1)
            for panel, expected in ((crop, seen.crops), (start, seen.drawn.images), (later, moved)):
                wanted = expected[number].permute(1, 2, 0).numpy() * 255
                np.testing.assert_allclose(panel[1::SCALE, 1::SCALE], wanted, atol=0.51)
            true = module.comparer.cast(one[:1] * 0 + batch["object_index"][number], batch["T_cam_obj"][[number]],
                                        seen.K_crop[[number]]).mask[0].numpy()  # fmt: skip
            for color, mask in ((START, start.any(axis=2)[1::SCALE, 1::SCALE]),
                                (AFTER, later.any(axis=2)[1::SCALE, 1::SCALE]), (TRUE, true)):  # fmt: skip
                drawn = painted(lines, color)
                edge = cv2.resize(mask.astype(np.uint8), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)
                band = cv2.morphologyEx(edge, cv2.MORPH_GRADIENT, np.ones((2 * SCALE + 1, 2 * SCALE + 1), np.uint8))
                assert drawn.any()
                assert not (drawn & (band == 0)).any()  # outlines lie where the silhouette ends
            shift = np.argwhere(later.any(axis=2)).mean(axis=0) - np.argwhere(start.any(axis=2)).mean(axis=0)
            if not later[:, -1].any() and not start[:, 0].any():
                np.testing.assert_allclose(shift, [0, 9 * SCALE], atol=3)


def test_add_is_that_to_the_nearest_of_equivalent_poses():
    turned = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    moved = torch.eye(4)
    moved[0, 3] = 3.0
    points = torch.tensor([[[10.0, 0, 0], [0, 4, 0], [0, 0, 5]]])
    possible = torch.stack([turned, torch.eye(4)])[None]
    torch.testing.assert_close(symmetric_add(possible, moved[None], points), torch.tensor([3.0]))
    torch.testing.assert_close(symmetric_add(possible[:, :1], torch.eye(4)[None], points), torch.tensor([28 / 3]))
