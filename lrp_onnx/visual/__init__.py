"""What comes out: heatmaps, grids, charts and pages."""
