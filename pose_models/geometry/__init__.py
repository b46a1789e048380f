"""Rigid transforms, cameras and crops of them, symmetries: pure functions on numpy arrays or torch tensors."""
