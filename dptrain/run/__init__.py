"""What one run leaves behind (directory, checkpoints, metrics, manifest) and what it shows while it goes on."""
