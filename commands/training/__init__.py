"""The training command: LightningCLI parses and builds, then one run is trained or evaluated."""
