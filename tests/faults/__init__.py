"""What goes wrong in production, done on purpose: real processes, real signals, real clients."""
