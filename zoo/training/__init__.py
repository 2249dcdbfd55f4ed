"""The LightningModule that trains a network, and what it needs."""
