"""Update rules and learning-rate schedules: small, pure arithmetic whose order is written down. No model, no wire."""
