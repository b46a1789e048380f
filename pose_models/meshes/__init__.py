"""Meshes: loading, bounding spheres, the visible surface and samples of it (millimetres, object frame)."""
