"""The coordinator, worker and augmenter processes: the `main` of each, put together from the library's parts.

Not here: the event loops that run inside these processes (`dptrain.processes`), what a message means or which worker
computes what (`dptrain.cluster`), sockets (`dptrain.net`), and the scripts that start a run (`dptrain.launch`).
"""
