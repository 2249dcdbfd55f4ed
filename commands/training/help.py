"""Help page of the subcommands that train or evaluate: the options most used, and how to list the others."""

from nnmass.commands import SUBCOMMANDS

__all__ = ["training_help"]

_PAGE = """usage: nnmass {subcommand} --config NAME [options]{other}

{summary}.

configuration:
  --config NAME             a shipped configuration by name, or a file; of several the last one wins, key by key
  --seed_everything N       decides links, initial weights, data order and augmentation (0)
  --print_config            print the whole configuration, and do no more

{own}

every key of a configuration is an option too, among them:
  --model.network NETWORK   a name (resnet18, timm/convnext_tiny, torchvision/resnet50) or a class (RandomSkipDenseNet);
                            --model.network.tc "[60, 130, 170]" for its arguments
  --model.optimizer CLASS   such as torch.optim.SGD; --model.optimizer.lr 0.1 for its arguments
  --model.channels_last B   images and weights with the channels innermost, which convolutions are faster on
  --model.compile_network B through torch.compile; the first step then takes a minute
  --model.cuda_graph B      on one GPU, replay a training step that was captured, which Python does not hold up
  --model.weights FILE      start from trained weights; --model.freeze backbone, --model.layer_decay 0.75 and more
  --data CLASS              such as CIFAR10; --data.batch_size 256 for its arguments
  --data.data_dir FOLDER    where the data lie (NNMASS_DATA, else ./data)
  --tf32 B                  on NVIDIA GPUs, shorten the factors of float32 convolutions and products (true)
  --trainer.max_epochs N    length of the training; also .devices, .num_nodes, .precision, .logger, .callbacks+=CLASS

more:
  --model.network.help CLASS   the arguments of a class; so do --data.help and --model.optimizer.help
  --help-all                   every key with its type, its default and what it does
  nnmass list configs          the configurations that there are

examples:
{examples}
"""

_PLACES = """\
results and checkpoints:
  --output_dir FOLDER       in which each run gets a folder of its own (runs)
  --ckpt_path WHICH         {checkpoint}"""

_OWN = {
    "fit": _PLACES.format(checkpoint="last goes on with the newest unfinished run of this configuration; or a file")
    + "\n  --checkpoint_minutes N    minutes between two checkpoints within an epoch (15)"
    + "\n  --extend N                train a finished run of this configuration for N more epochs, as a new run",
    **dict.fromkeys(("validate", "test"), _PLACES.format(checkpoint="best, last or a file")),
}

_EXAMPLES = {
    "fit": [
        "nnmass fit --config digits_dense.yaml",
        "nnmass fit --config cifar10_dense.yaml --data.data_dir ~/data --trainer.precision bf16-mixed",
        "nnmass fit --config cifar10_dense.yaml --ckpt_path last",
    ],
    "validate": [
        "nnmass validate --config digits_dense.yaml --ckpt_path best",
        "nnmass validate runs/latest/checkpoints/best.ckpt",
    ],
    "test": [
        "nnmass test --config digits_dense.yaml --ckpt_path best",
        "nnmass test best.ckpt --data ImageFolder --data.data_dir photos",
    ],
}


def training_help(subcommand: str) -> str:
    """The page of a subcommand.

    Args:
        subcommand: ``fit``, ``validate`` or ``test``.
    """
    summary = SUBCOMMANDS[subcommand].summary
    return _PAGE.format(
        subcommand=subcommand,
        summary=summary[0].upper() + summary[1:],
        own=_OWN[subcommand],
        other="" if subcommand == "fit" else f"\n       nnmass {subcommand} CHECKPOINT [--data CLASS] [options]",
        examples="\n".join(f"  {example}" for example in _EXAMPLES[subcommand]),
    )
