"""The folder in which ``huggingface_hub`` keeps a network, and its way to the Hub and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_file, save_file

from nnmass.zoo.checks import require
from nnmass.zoo.training.architecture import require_same_architecture
from nnmass.zoo.weights.cards import hub_card

__all__ = ["HubFiles"]

_WEIGHTS = "model.safetensors"


class HubFiles(PyTorchModelHubMixin):
    """A network between its class and the mixin, which would otherwise be loaded with every network.

    Args:
        module: The network, a :class:`nnmass.zoo.networks.hub.HubNetwork`.

    Source:
        The integration guide of ``huggingface_hub``: what a library changes are these four methods.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the folder; the configuration is the network's arguments unless another is given."""
        config = options.pop("config", None) or _plain(self.module.init_args)
        return super().save_pretrained(save_directory, config=config, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        state = self.module.state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, save_directory / _WEIGHTS)

    @classmethod
    def _from_pretrained(  # type: ignore[override]
        cls,
        *,
        network_class: type,
        model_id: str,
        config: Mapping[str, Any] | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **replaced: Any,
    ) -> "HubFiles":
        require(config is not None, model_id, f"hold config.json, the arguments of a {network_class.__name__}", "none")
        network = network_class(**{**dict(config or {}), **replaced})
        file = Path(model_id) / _WEIGHTS
        if not Path(model_id).is_dir():
            file = Path(
                hf_hub_download(
                    model_id,
                    _WEIGHTS,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        require(file.is_file(), model_id, f"hold {_WEIGHTS}", "none")
        state = load_file(file)
        require_same_architecture(network.state_dict(), state)
        network.load_state_dict(state)
        return cls(network.eval())

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The network's topology, and how to load it."""
        return ModelCard(hub_card(self.module))


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON has them: lists for sequences, plain numbers for numpy's.

    Raises:
        ValueError: If JSON has nothing for one.
    """
    try:
        return json.loads(json.dumps(dict(arguments), default=lambda value: value.tolist()))
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"Expected arguments of the network that JSON can hold, but got {dict(arguments)}.") from error
