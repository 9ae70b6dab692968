"""The operator's and the user's commands: a doorway, no logic."""
