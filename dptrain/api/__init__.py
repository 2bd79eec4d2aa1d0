"""What dptrain can do: train, open a run, score, predict, explain. Python (`import dptrain`) and the command line
use the same functions.
"""
