"""Coordinator and worker as state machines: events in, actions out. No socket, no clock, no randomness in here.

Networks are known only as `dptrain.model`, messages as `dptrain.wire`. The simulator lives beside the machines.
"""
