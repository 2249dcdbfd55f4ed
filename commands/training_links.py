"""What the data and the seed decide about the network, as links between arguments."""

from math import prod

from pytorch_lightning.cli import LightningArgumentParser

__all__ = ["link_data_to_network"]


def link_data_to_network(parser: LightningArgumentParser) -> None:
    """Link ``data`` to ``model.network``, and ``seed_everything`` to both.

    Args:
        parser: A parser that has these three.
    """
    for fact in ("num_classes", "in_chans"):
        parser.link_arguments(f"data.{fact}", f"model.network.init_args.{fact}", apply_on="instantiate")
    # Networks of vectors take the number of features of a whole sample.
    parser.link_arguments(
        "data.input_size", "model.network.init_args.in_features", compute_fn=prod, apply_on="instantiate"
    )
    for key in ("model.network", "data"):
        parser.link_arguments("seed_everything", f"{key}.init_args.seed")
