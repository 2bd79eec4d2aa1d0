"""Loops that carry out what the state machines of `cluster/` ask for; child processes, signals, threads."""
