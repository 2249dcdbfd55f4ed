"""The LightningModule that trains a network, with its metrics."""
