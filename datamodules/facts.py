"""Facts of data sets that are known before they are loaded; nothing here needs torch."""

from typing import NamedTuple

__all__ = ["FACTS", "Facts"]

_SHARED = ("batch_size", "split_seed", "val_on_test", "val_size")


class Facts(NamedTuple):
    """A data set as it is published.

    Attributes:
        num_classes: Classes.
        in_chans: Channels of an image; features of a vector.
        input_size: Shape of one sample, (channels, height, width) in px or (features,).
        train_samples: Samples to train on, those for validation among them.
        arguments: What its class takes that changes nothing of this.
    """

    num_classes: int
    in_chans: int
    input_size: tuple[int, ...]
    train_samples: int
    arguments: tuple[str, ...] = _SHARED

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of an image, in px."""
        _, height, width = self.input_size
        return height, width

    def trained_on(self, val_size: int | None = None, val_on_test: bool = False) -> int:
        """Number of samples that a training sees, by the arguments of :class:`datamodules.DataModule`.

        Example:
            >>> FACTS["CIFAR10"].trained_on()
            45000
        """
        kept = self.train_samples // 10 if val_size is None else val_size
        return self.train_samples - (0 if val_on_test else kept)


_IMAGES = (*_SHARED, "standardise")
_OFFICIAL = (*_IMAGES, "data_dir", "download")

FACTS: dict[str, Facts] = {
    "CIFAR10": Facts(10, 3, (3, 32, 32), 50_000, _OFFICIAL),
    "CIFAR100": Facts(100, 3, (3, 32, 32), 50_000, _OFFICIAL),
    "Circle": Facts(2, 2, (2,), 60_000),
    "Digits": Facts(10, 1, (1, 8, 8), 1_437, _IMAGES),
    "FashionMNIST": Facts(10, 1, (1, 28, 28), 60_000, _OFFICIAL),
    "MNIST": Facts(10, 1, (1, 28, 28), 60_000, _OFFICIAL),
    "Seg": Facts(2, 2, (2,), 60_000),
}
