"""The files of a run (directory, checkpoints, metrics, manifest), and what it shows while it is running."""
