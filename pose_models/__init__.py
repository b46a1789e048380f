"""Shared parts and methods of bopflow.

The rooms of this package are ordered (docs/architecture.md): a room imports from those above it, never from those
below. Nothing here knows Snakemake. Lengths are millimetres, images are uint8 RGB, angles radians; a pixel's centre
has integer coordinates unless a function says otherwise; `T_cam_obj` maps object to camera coordinates.
"""

__version__ = "0.1.0"
