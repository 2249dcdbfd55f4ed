"""Images a second that one core prepares: ours against torchvision's usual pipeline, in one run.

    python benchmarks/data.py [FOLDER]

FOLDER may hold ``imagenet/train/CLASS/*.JPEG``; without it the photographs are drawn at random, 500 x 375 px. Its
photographs are enlarged where larger ones are to be read, with little compression, so that the files are large too.
"""

import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import io, transforms
from torchvision.transforms import v2

from nnmass.datamodules.augment import Augmentation
from nnmass.datamodules.cifar import CIFAR10, PAPERS
from nnmass.datamodules.crops import random_resized_crop
from nnmass.datamodules.imagenet import ImageNet
from nnmass.datamodules.listing import files_of_classes
from nnmass.datamodules.loader import MemoryLoader, ShardedBatches, WorkerLoader
from nnmass.datamodules.photograph_augment import PhotographAugmentation, PhotographSteps
from nnmass.datamodules.photographs import Photographs
from nnmass.datamodules.policy import random_policy
from nnmass.datamodules.shrink import shrunk
from nnmass.datamodules.sources import ImageFilesOfClasses
from nnmass.zoo import RandomSkipDenseNet
from nnmass.zoo.weights.images import open_photograph

ROUNDS = 5
BATCH = 128
RESOLUTION = 224


class PerImage(Dataset):
    """The usual pipeline: a PIL image at a time, torchvision's transforms, cutout as its authors wrote it."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.permute(0, 2, 3, 1).numpy()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=PAPERS.crop_padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(CIFAR10.mean, CIFAR10.std),
                self.cutout,
            ]
        )

    @staticmethod
    def cutout(image: Tensor) -> Tensor:
        y, x = torch.randint(32, (2,)).tolist()
        half = PAPERS.cutout // 2
        image[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
        return image

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.images[index]))


class BareDecoding(Dataset):
    """Decoding and resizing, nothing else."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = Image.open(self.files[index]).convert("RGB").resize((RESOLUTION, RESOLUTION), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def rate(make: Callable[[], Iterable], images: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in make():
        pass
    return images / (clock() - began)


def compare(
    title: str,
    ways: dict[str, Callable[[], Iterable]],
    images: int,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Print the median rate of each way over interleaved rounds, and its ratio to the first."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in track(range(ROUNDS + 1), title, console=Console(stderr=True), transient=True):
        for name, make in ways.items():
            measured = rate(make, images, clock)
            if number:  # the first round warms up
                rates[name].append(measured)
    baseline = statistics.median(next(iter(rates.values())))
    table = Table("way", "images/s", "ratio", title=f"{title}, {ROUNDS} rounds", title_justify="left")
    for name, values in rates.items():
        table.add_row(name, f"{statistics.median(values):,.0f}", f"{statistics.median(values) / baseline:.2f}")
    Console().print(table)


def cifar() -> None:
    images = torch.randint(0, 256, (5120, 3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(len(images), dtype=torch.long)

    def ours(augmentation: Augmentation) -> Callable[[], Iterable]:
        def prepare(batch: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            return augmentation(batch, targets, generator, CIFAR10.mean, CIFAR10.std, 10)

        sampler = ShardedBatches(len(images), BATCH, shuffle=True)
        return lambda: MemoryLoader(images, labels, torch.arange(len(images)), sampler, prepare)

    usual = DataLoader(PerImage(images), batch_size=BATCH, shuffle=True)
    ways: dict[str, Callable[[], Iterable]] = {
        "torchvision, image by image": lambda: usual,
        "ours: crop, flip, cutout": ours(PAPERS),
        "ours, with colour jitter": ours(Augmentation(4, True, colour_jitter=0.4, cutout=16)),
        "ours, with MixUp and CutMix": ours(Augmentation(4, True, cutout=16, mixup=1.0, cutmix=1.0)),
        "ours, with TrivialAugment": ours(Augmentation(4, True, "trivial", cutout=16)),
    }
    compare("CIFAR images, one core", ways, len(images), time.process_time)


def policies() -> None:
    """Time torchvision's policies, image after image, and ours, on a batch."""
    images = torch.randint(0, 256, (1280, 3, 32, 32), dtype=torch.uint8)
    generator = torch.Generator()

    def ours(policy: str) -> Iterable[Tensor]:
        return (random_policy(batch, policy, generator) for batch in images.split(BATCH))

    for policy, transform in (("trivial", v2.TrivialAugmentWide()), ("rand", v2.RandAugment())):
        ways: dict[str, Callable[[], Iterable]] = {
            "torchvision, image by image": partial(map, transform, images),
            "ours": partial(ours, policy),
        }
        compare(f"{type(transform).__name__} of CIFAR images, one core", ways, len(images), time.process_time)


def photographs(folder: Path) -> list[Path]:
    files = sorted((folder / "imagenet" / "train").glob("*/*.JPEG"))[:512]
    return files or drawn_photographs((500, 375))


def drawn_photographs(size: tuple[int, int]) -> list[Path]:
    place = Path(tempfile.mkdtemp()) / "train" / "drawn"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(128):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(place / f"{number:04}.JPEG", quality=90)
    return sorted(place.glob("*.JPEG"))


def imagenet(files: list[Path], num_workers: int) -> None:
    root = files[0].parent.parent
    images = ImageFilesOfClasses(root, [str(file.relative_to(root)) for file in files], [0] * len(files))

    def ours(training: bool) -> WorkerLoader:
        steps = PhotographSteps(PhotographAugmentation(), ImageNet.mean, RESOLUTION) if training else None
        dataset = Photographs(images, ImageNet(resolution=RESOLUTION).preprocessing, steps, seed=0)
        return WorkerLoader(dataset, ShardedBatches(len(files), 32, shuffle=training), num_workers)

    train, val = ours(True), ours(False)
    bare = DataLoader(BareDecoding(files), batch_size=32, num_workers=num_workers, persistent_workers=num_workers > 0)
    compare(
        f"Photographs, {num_workers} worker processes",
        {
            "bare PIL decoding and resizing": lambda: bare,
            "ours, random crops": lambda: train,
            "ours, centre": lambda: val,
        },
        len(files),
    )


def augmented(files: list[Path]) -> None:
    """Random crops with each step of the augmentation, and what mixing a batch adds, by a core's time."""
    root = files[0].parent.parent
    images = ImageFilesOfClasses(root, [str(file.relative_to(root)) for file in files], [0] * len(files))
    preparation = ImageNet(resolution=RESOLUTION).preprocessing

    def ours(**options: Any) -> Callable[[], Iterable]:
        augmentation = PhotographAugmentation(**options)
        steps = PhotographSteps(augmentation, ImageNet.mean, RESOLUTION)
        dataset = Photographs(images, preparation, steps, seed=0)

        def batches() -> Iterable:
            for first in range(0, len(files), 32):
                pixels = torch.stack([dataset[0, index][0] for index in range(first, min(first + 32, len(files)))])
                batch = preparation.normalise(pixels)
                labels = torch.zeros(len(batch), dtype=torch.long)
                yield augmentation.mix(batch, labels, 1000, seed=first) if augmentation.mixes else batch

        return batches

    ways = {
        "random crops": ours(),
        "with TrivialAugment": ours(policy="trivial"),
        "with RandAugment": ours(policy="rand"),
        "with timm's rand-m6-mstd0.5-inc1": ours(policy="rand-m6-mstd0.5-inc1"),
        "with colour jitter": ours(colour_jitter=0.4),
        "with random erasing": ours(erasing=0.25),
        "with MixUp and CutMix": ours(mixup=0.1, cutmix=1.0),
    }
    compare("Photographs, augmented and normalised, one core", ways, len(files), time.process_time)


def decoders(title: str, files: list[Path]) -> None:
    """The same work three times: decode, and resize the whole image."""

    def with_torchvision(file: Path) -> Tensor:
        pixels = io.decode_jpeg(io.read_file(str(file)), mode=io.ImageReadMode.RGB)
        return transforms.functional.resize(pixels, [RESOLUTION, RESOLUTION], antialias=True)

    def with_pil(file: Path, least: float) -> Image.Image:
        return open_photograph(file, least).resize((RESOLUTION, RESOLUTION), Image.Resampling.BILINEAR)

    compare(
        f"JPEG decoders, {title}, one core",
        {
            "PIL": lambda: (with_pil(file, 1e9) for file in files),
            "PIL, draft mode": lambda: (with_pil(file, RESOLUTION) for file in files),
            "torchvision.io": lambda: map(with_torchvision, files),
        },
        len(files),
    )


def enlarged(files: list[Path], short: int) -> list[Path]:
    """Copies whose short side is ``short`` px."""
    place = Path(tempfile.mkdtemp())
    for file in files:
        with Image.open(file) as image:
            scale = short / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(place / file.name, quality=98)
    return sorted(place.glob("*.JPEG"))


def shrinking(files: list[Path], short: int) -> None:
    """Random crops of photographs, and of what ``nnmass shrink`` makes of them, by a core's time."""
    place = Path(tempfile.mkdtemp())
    copies = [place / file.name for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(shrunk(file, side=256, quality=90))

    def crops(paths: list[Path]) -> Callable[[], Iterable]:
        return lambda: (random_resized_crop(path, RESOLUTION, seed) for seed, path in enumerate(paths))

    sizes = [sum(path.stat().st_size for path in paths) / len(files) / 1000 for paths in (files, copies)]
    ways = {f"the originals, {sizes[0]:.0f} kB each": crops(files), f"shrunk, {sizes[1]:.0f} kB each": crops(copies)}
    compare(f"Random crops, short side {short} px, one core", ways, len(files), time.process_time)


def listing() -> None:
    """Time the listing of class folders, which every run does."""
    place = Path(tempfile.mkdtemp())
    for folder in (place / f"n{number:08}" for number in range(1000)):
        folder.mkdir()
        for number in range(20):
            (folder / f"{folder.name}_{number}.JPEG").touch()
    seconds = timeit.repeat(lambda: files_of_classes(place, 1000), number=1, repeat=ROUNDS)
    Console().print(f"Listing 20,000 files in 1,000 folders: {statistics.median(seconds):.2f} s.")


def share_of_a_step() -> None:
    """Time what the loader adds to a training step on a GPU."""
    device = torch.device("cuda")
    images = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (50_000,), device=device)

    def prepare(batch: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return PAPERS(batch, targets, generator, CIFAR10.mean, CIFAR10.std, 10)

    loader = MemoryLoader(images, labels, torch.arange(50_000), ShardedBatches(50_000, 512, True), prepare)
    network = RandomSkipDenseNet(9, 2, [50, 70, 145]).to(device, memory_format=torch.channels_last)
    batch = next(iter(loader))

    def seconds(step: Callable[[tuple[Tensor, Tensor]], None], batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for item in batches:
            step(item)
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / len(loader)

    def train(item: tuple[Tensor, Tensor]) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(item[0].to(memory_format=torch.channels_last)), item[1])
        loss.backward()
        network.zero_grad()

    for _ in range(2):  # the first warms up
        fixed, fed = seconds(train, [batch] * len(loader)), seconds(train, loader)
    console = Console()
    console.print(f"{torch.cuda.get_device_name()}: a step of batch 512 takes {1e3 * fixed:.2f} ms on one fixed batch,")
    console.print(f"{1e3 * fed:.2f} ms with the loader: the loader's share is {1 - fixed / fed:.1%}.")


def main() -> None:
    torch.set_num_threads(1)
    cifar()
    policies()
    listing()
    files = photographs(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
    decoders("photographs of the folder", files)
    decoders("1600 x 1200 px", drawn_photographs((1600, 1200)))
    for num_workers in (0, 2):
        imagenet(files, num_workers)
    augmented(files)
    for short in (375, 1200):
        shrinking(enlarged(files[:128], short), short)
    if torch.cuda.is_available():
        share_of_a_step()


if __name__ == "__main__":
    main()
