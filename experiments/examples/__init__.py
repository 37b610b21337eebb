"""Programs that show what a part of the package is for."""
