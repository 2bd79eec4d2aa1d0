"""Coordinator and worker as state machines: events in, actions out. They use no socket, no clock and no random numbers.

Together they compute `dptrain.loop`. They know a network only as `dptrain.model`. Read in this order: messages.py and
events.py (what they say and do), coordinator.py, round.py, training.py; worker.py; codec.py (bytes).
"""
