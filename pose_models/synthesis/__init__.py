"""Synthetic scenes: settled clutter, domain randomisation, ground-truth annotation, the demo datasets."""
