"""Ours against the floor and against what users would pick, side by side in one run."""
