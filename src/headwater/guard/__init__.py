"""Decisions taken in the host process: frozen states and pure steps. No clock, no lock, no action: the wrapper brings those."""
