"""CosyPose (Labbé et al., ECCV 2020): poses refined by comparing renders with the image."""
