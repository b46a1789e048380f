"""One ray-casting interface and what is built on it: depth, coordinates, shading, masks and visibility."""
