"""The Lightning harness all methods share: logging, checkpoints, resume, devices."""
