"""What one run leaves behind (directory, checkpoints, metrics, manifest) and what it shows while it goes on.

Not here: what happens in a run and when (`cluster/`), and pictures (`analysis/`).
"""
