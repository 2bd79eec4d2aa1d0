"""The definition of every operation, in NumPy. The compiled twin has the same file name, one folder up."""
