"""Several views at once: object-level matching and bundle adjustment, for estimates of any method."""
