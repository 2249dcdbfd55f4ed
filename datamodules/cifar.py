"""CIFAR-10 and CIFAR-100, from the official batches or from a tree of image folders."""

from typing import Any

from nnmass.datamodules.augment import Augmentation
from nnmass.datamodules.facts import FACTS
from nnmass.datamodules.official import OfficialImages

__all__ = ["CIFAR10", "CIFAR100"]

# The papers' protocol: random crops and mirroring as usual, and cutout.
PAPERS = Augmentation(crop_padding=4, flip=True, cutout=16)

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""


class CIFAR10(OfficialImages):
    """60,000 colour photographs of 32 x 32 px in ten classes: 50,000 to train on and 10,000 to test on.

    The official python batches (``cifar-10-batches-py``) are recognised, and ``train/CLASS/*.png`` beside
    ``test/CLASS/*.png`` (or jpg) in the folder itself or in ``cifar10`` below it.

    Source:
        Krizhevsky: "Learning multiple layers of features from tiny images", 2009.
    """

    num_classes = FACTS["CIFAR10"].num_classes
    in_chans = FACTS["CIFAR10"].in_chans
    image_size = FACTS["CIFAR10"].image_size
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    official = "CIFAR10"
    folder = "cifar-10-batches-py"
    tree = "cifar10"
    names = tuple(_CIFAR10.split())

    def __init__(self, augmentation: Augmentation = PAPERS, **kwargs: Any) -> None:
        super().__init__(augmentation=augmentation, **kwargs)


class CIFAR100(CIFAR10):
    """60,000 colour photographs of 32 x 32 px in a hundred classes; layouts and split as in :class:`CIFAR10`."""

    num_classes = FACTS["CIFAR100"].num_classes
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    official = "CIFAR100"
    folder = "cifar-100-python"
    tree = "cifar100"
    names = tuple(_CIFAR100.split())  # the fine labels
