"""Crops of images and their augmentation."""
