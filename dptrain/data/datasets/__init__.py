"""Readers of data sets, one file per format. Which folder holds the files is decided in `data/catalog.py`."""
