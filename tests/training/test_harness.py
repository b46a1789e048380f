"""The training loop: exact resume, metrics, schedules, refusals, with a real (tiny) module and Lightning."""

import csv

import cv2
import lightning
import numpy as np
import pytest
import torch

from pose_models.files import InputError
from pose_models.training.checkpoints import forget_other_training, load_checkpoint, save_checkpoint
from pose_models.training.config import TrainSettings
from pose_models.training.devices import lease_device
from pose_models.training.harness import Chunks, fit


class Items:
    """Points on a noisy line; sample n depends on n alone."""

    valid_count = 8

    def sample(self, number):
        generator = torch.Generator().manual_seed(number)
        x = torch.rand(3, generator=generator)
        return {"x": x, "y": (2 * x).sum(0, keepdim=True) + 1}

    def valid_sample(self, number):
        return self.sample(10**6 + number)


class Line(lightning.LightningModule):
    """Linear regression behind a batch-norm, whose running statistics must survive a resume too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))

    def training_step(self, batch, _):
        loss = (self.net(batch["x"]) - batch["y"]).square().mean()
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch, _):
        self.log("valid/loss", (self.net(batch["x"]) - batch["y"]).square().mean(), batch_size=len(batch["x"]))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.05)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Killed(BaseException):
    """Stands for the end of the process in the middle of a chunk."""


class DyingLine(Line):
    """Dies at a given step."""

    def training_step(self, batch, index):
        if self.global_step == 70:
            raise Killed
        return super().training_step(batch, index)


SETTINGS = TrainSettings(steps=100, batch_size=4, chunk_steps=30, wandb="disabled")


def _weights(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def test_an_interrupted_training_ends_with_the_same_weights_and_metrics(tmp_path):
    whole, first, second = Line(), DyingLine(), Line()
    fit(whole, Items(), SETTINGS, tmp_path / "whole", "cpu", workers=0)
    with pytest.raises(Killed):
        fit(first, Items(), SETTINGS, tmp_path / "cut", "cpu", workers=0)
    fit(second, Items(), SETTINGS, tmp_path / "cut", "cpu", workers=0)
    assert torch.equal(_weights(whole), _weights(second))
    assert not torch.equal(_weights(whole), _weights(Line()))
    rows = [list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in ("whole", "cut")]
    kept = [[(row["step"], row["train/loss"], row["valid/loss"]) for row in run] for run in rows]
    assert kept[0] == kept[1]
    assert [int(step) for step, _, valid in kept[0] if valid] == [30, 60, 90, 100]


def test_workers_do_not_change_the_result(tmp_path):
    modules = [Line(), Line()]
    for workers, module in enumerate(modules):
        fit(module, Items(), SETTINGS, tmp_path / str(workers), "cpu", workers=workers)
    assert torch.equal(_weights(modules[0]), _weights(modules[1]))


def test_no_sample_is_skipped_or_seen_twice():
    class Trainer:
        global_step, global_rank, world_size = 0, 0, 2

    chunks = Chunks(Items(), SETTINGS, workers=0)
    chunks.trainer = Trainer()
    seen, valid = [], []
    while Trainer.global_step < SETTINGS.steps:
        for Trainer.global_rank in (0, 1):
            loader = chunks.train_dataloader()
            seen += loader.dataset.numbers
        Trainer.global_step += len(loader)
    for Trainer.global_rank in (0, 1):
        valid += chunks.val_dataloader().dataset.numbers
    assert sorted(seen) == list(range(SETTINGS.steps * SETTINGS.batch_size))
    assert sorted(valid) == list(range(Items.valid_count))


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=r"model\.ckpt: unreadable checkpoint"):
        load_checkpoint(tmp_path / "model.ckpt", "surfemb")
    with pytest.raises(InputError, match="train the method first"):
        load_checkpoint(tmp_path / "missing.ckpt", "surfemb")


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    save_checkpoint(tmp_path / "model.ckpt", "cosypose", {"state_dict": {}})
    with pytest.raises(InputError, match="checkpoint of method 'cosypose', expected 'surfemb'"):
        load_checkpoint(tmp_path / "model.ckpt", "surfemb")


def test_devices_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="expected auto, cpu or cuda"):
        lease_device("tpu")
    assert lease_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        assert lease_device("auto") == "cpu"
        with pytest.raises(InputError, match="no usable GPU on this machine; run with --device cpu"):
            lease_device("cuda")


class DrawnLine(Line):
    """Draws its validation samples: their number and its own slope."""

    def validation_picture(self, batch):
        slope = float(self.net[1].weight.detach().sum())
        return np.full((2, 3, 3), [len(batch["x"]), 0, min(255, round(abs(slope) * 50))], dtype=np.uint8)


def test_every_validation_leaves_a_picture_and_another_training_none(tmp_path):
    module = DrawnLine()
    fit(module, Items(), SETTINGS, tmp_path, "cpu", workers=0)
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == [f"valid_{step:07d}.png" for step in (30, 60, 90, 100)]
    pictures = [cv2.imread(str(tmp_path / name))[..., ::-1] for name in names]
    assert all(picture.shape == (2, 3, 3) and (picture[..., 0] == 4).all() for picture in pictures)
    slope = float(module.net[1].weight.detach().sum())
    assert pictures[-1][0, 0, 2] == round(abs(slope) * 50) != pictures[0][0, 0, 2]
    forget_other_training(tmp_path, "another")
    assert not list(tmp_path.glob("*.png"))


def test_learning_rates_are_logged(tmp_path):
    fit(Line(), Items(), SETTINGS, tmp_path, "cpu", workers=0)
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["train/lr"]]
    for row in rows:
        steps = np.arange(int(row["step"]) - 20, int(row["step"]))
        assert float(row["train/lr"]) == pytest.approx(float(np.mean(0.05 / (1 + steps))), rel=1e-4)
    assert len(rows) >= 3
