"""2D detections: reading, writing and their sources."""
