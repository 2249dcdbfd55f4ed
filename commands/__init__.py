"""The subcommands of the CLI, one module each; this table is all that ``--help`` needs."""

from typing import NamedTuple

__all__ = ["SUBCOMMANDS", "Subcommand"]


class Subcommand(NamedTuple):
    """Module of a subcommand, and its purpose in one line, ``summary``."""

    module: str
    summary: str


SUBCOMMANDS = {
    "fit": Subcommand("nnmass.commands.fit", "train a network, then test its best checkpoint"),
    "validate": Subcommand("nnmass.commands.fit", "evaluate a checkpoint on the validation set"),
    "test": Subcommand("nnmass.commands.fit", "evaluate a checkpoint on the test set"),
    "predict": Subcommand("nnmass.commands.predict", "classify images with a checkpoint"),
    "submit": Subcommand("nnmass.commands.submit", "write the SLURM job file of a training, and submit it"),
    "shrink": Subcommand("nnmass.commands.shrink", "copy photographs with fewer pixels, once, to read them faster"),
    "check": Subcommand("nnmass.commands.check", "check what the fast passes of networks compute on this machine"),
    "export": Subcommand("nnmass.commands.export", "write a checkpoint's network as ONNX or torch.export"),
    "release": Subcommand("nnmass.commands.release", "write trained weights for create_model, with a model card"),
    "inspect": Subcommand("nnmass.commands.inspect", "show the topology of networks, without training"),
    "measure": Subcommand("nnmass.commands.measure", "compare training-free measures of networks, over seeds"),
    "design": Subcommand("nnmass.commands.design", "find the networks of the highest NN-Mass within a budget"),
    "gradients": Subcommand(
        "nnmass.commands.gradients", "ask whether the initial Jacobians' singular values follow NN-Mass"
    ),
    "study": Subcommand("nnmass.commands.study.command", "train many networks, and ask what explains their accuracy"),
    "atlas": Subcommand("nnmass.commands.atlas", "read the topology of every architecture of timm"),
    "list": Subcommand(
        "nnmass.commands.listing", "list the names of networks, configurations and studies, and your runs"
    ),
}
