"""What must hold for all input, and not only for the cases that somebody thought of."""
