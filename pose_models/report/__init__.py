"""The HTML report: overlays, curves, tables."""
