"""Refinement of estimates of any method against the depth image."""
