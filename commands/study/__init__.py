"""The subcommand ``study``: a module for each of its actions, and what they share."""
