"""ZeroMQ sockets, CURVE keys and the guard of a listening port. No other folder imports zmq."""
