"""The commands, one file each; importing a command registers it."""
