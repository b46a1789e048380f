"""Pose errors, the BOP scores and their kin."""
