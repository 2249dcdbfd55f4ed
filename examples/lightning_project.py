"""A zoo network inside a LightningModule and a CLI of one's own, without this project's callbacks or data modules.

Run: python lightning_project.py fit --trainer.max_epochs 2
"""

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from nnmass import zoo


class DigitData(LightningDataModule):
    """The 8 x 8 px digits of scikit-learn, every fifth for validation."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Load and split the digits."""
        images, labels = load_digits(return_X_y=True)
        pixels = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
        digits = TensorDataset(pixels, torch.tensor(labels))
        self.train, self.val = random_split(digits, [0.8, 0.2], torch.Generator().manual_seed(0))

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches."""
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Batches in order."""
        return DataLoader(self.val, self.batch_size)


class DigitReader(LightningModule):
    """A random-skip DenseNet by name, trained with Adam."""

    def __init__(self, network: str = "dense_digits", lr: float = 3e-3, seed: int = 0) -> None:
        super().__init__()
        self.network = zoo.create_model(network, num_classes=10, in_chans=1, seed=seed)
        self.lr = lr
        self.save_hyperparameters({"nn_mass": zoo.topology(self.network, (1, 8, 8)).nn_mass})

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy of one batch."""
        images, labels = batch
        accuracy = (self.network(images).argmax(dim=1) == labels).float().mean()
        self.log("val_accuracy", accuracy, batch_size=len(labels), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main(arguments: list[str] | None = None) -> LightningCLI:
    """Run the command line."""
    return LightningCLI(DigitReader, DigitData, args=arguments)


if __name__ == "__main__":
    main()
