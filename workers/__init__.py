"""Process entry points, wiring only: each file puts one process together from the library's parts."""
