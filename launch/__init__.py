"""Shell scripts and container files that start the processes of `dptrain.workers`. Imports nothing of what they run."""
