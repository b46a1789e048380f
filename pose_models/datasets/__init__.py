"""Datasets: facts about them, and one reader and writer per format."""
