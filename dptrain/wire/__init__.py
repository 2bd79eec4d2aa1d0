"""What travels between processes: messages as frozen dataclasses, and the codec that turns them into frames.

No socket, no clock, no decision lives here.
"""
