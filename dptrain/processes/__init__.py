"""What runs inside a process: event loops around the state machines of `cluster/`, threads, signals, child processes.

The `main` of each kind of process, which puts these parts together, is in `dptrain.workers`.
"""
