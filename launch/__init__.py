"""How a run is started: scripts and container files. Starts processes; imports none of the code they run."""
