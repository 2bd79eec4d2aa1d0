"""Real processes of real runs, started, disturbed, watched and compared: for tests/system and launch/soak.sh."""
