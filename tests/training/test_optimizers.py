"""Schedules of the learning rates."""

import pytest

from pose_models.training.config import TrainSettings
from pose_models.training.optimizers import rate_factor


def test_rates_rise_evenly_and_drop_once():
    settings = TrainSettings(steps=700, warmup_steps=50, schedule="drop")
    rates = [rate_factor(step, settings) for step in range(701)]
    assert rates[:51] == pytest.approx([step / 50 for step in range(51)])
    assert set(rates[50:550]) == {1.0}  # the paper's epochs 50 to 550 of 700
    assert rates[550:] == pytest.approx([0.1] * 151)


def test_cosine_ends_at_nothing_and_constant_stays():
    cosine = TrainSettings(steps=100, warmup_steps=0, schedule="cosine")
    assert rate_factor(0, cosine) == 1.0
    assert rate_factor(50, cosine) == pytest.approx(0.5)
    assert rate_factor(100, cosine) == pytest.approx(0.0, abs=1e-12)
    assert rate_factor(90, TrainSettings(steps=100, warmup_steps=0)) == 1.0
