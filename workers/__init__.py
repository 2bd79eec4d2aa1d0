"""The processes of a run, put together from the library's parts: their entry points, and what a worker is made of.

Not here: what a message means or who computes what (`dptrain.cluster`), and sockets (`dptrain.net`).
"""
