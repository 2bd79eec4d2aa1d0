"""ZeroMQ sockets, CURVE keys, the guard of a listening port, and the exchange of prepared shards.

No other folder imports zmq.
"""
