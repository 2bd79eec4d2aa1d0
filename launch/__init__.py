"""Shell scripts that train, check or disturb runs, and files for containers. Imports nothing of what they start."""
