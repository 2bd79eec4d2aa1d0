"""What one does with dptrain: train, open a run, score, predict, explain. `import dptrain` shows it to Python, and the
command line is made of it. Not here: reading of command lines, printing, exit codes (cli/).
"""
