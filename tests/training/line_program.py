"""A training program for tests of several processes: `python line_program.py FOLDER PROCESSES [DIE_AT]`."""

import logging
import os
import signal
import sys
from pathlib import Path

import lightning
import torch

from pose_models.training.checkpoints import save_checkpoint
from pose_models.training.config import TrainSettings
from pose_models.training.harness import train_to


class Points:
    """Points on a noisy line; sample n depends on n alone."""

    valid_count = 7

    def sample(self, number):
        generator = torch.Generator().manual_seed(number)
        x = torch.rand(3, generator=generator)
        return {"x": x, "y": (2 * x).sum(0, keepdim=True) + 1, "number": torch.tensor(number)}

    def valid_sample(self, number):
        return self.sample(10**6 + number)


class Line(lightning.LightningModule):
    """Linear regression with one weight that is never used and one that only half the samples use."""

    def __init__(self, die_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.odd, self.unused = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
        self.die_at = die_at

    def training_step(self, batch, _):
        if self.global_step == self.die_at and os.environ.get("LOCAL_RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = self.net(batch["x"])
        odd = batch["number"] % 2 == 1
        if odd.any():
            answer = answer + self.odd * odd[:, None]
        loss = (answer - batch["y"]).square().mean()
        self.log("train/loss", loss.detach())
        self.log("train/mean_number", batch["number"].double().mean())
        return loss

    def validation_step(self, batch, _):
        self.log("valid/loss", (self.net(batch["x"]) - batch["y"]).square().mean(), batch_size=len(batch["x"]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.02)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    die_at = int(sys.argv[3]) if len(sys.argv) > 3 else None
    module = Line(die_at)
    settings = TrainSettings(steps=100, batch_size=8, chunk_steps=40, wandb="disabled")

    def save():
        save_checkpoint(folder / "model.ckpt", "line", {"state_dict": module.state_dict()})

    train_to(folder / "model.ckpt", module, Points(), settings, "key", save, "cpu", 0, processes)
