"""Pictures and tables about trained networks: from arrays to matplotlib figures or text. Opens no run directory."""
