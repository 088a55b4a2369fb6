"""The commands, a file each; importing one registers it."""
