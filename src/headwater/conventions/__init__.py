"""The words on the wire. Standard library only."""
