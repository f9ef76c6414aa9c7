"""The phases of a rotation on a host: a file for each."""
