"""Update rules and learning-rate schedules: small, pure arithmetic in a fixed order. Knows no model, no messages."""
