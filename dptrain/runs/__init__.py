"""The files of a run (directory, checkpoints, metrics, manifest) and its live display."""
