"""Networks on the Hugging Face Hub and in its folders: saved, loaded and published by ``huggingface_hub``."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from nnmass.zoo.weights.hub_files import HubFiles

__all__ = ["HubNetwork"]


class HubNetwork:
    """The methods of Hugging Face's ``PyTorchModelHubMixin``, for networks that their arguments describe.

    The library is loaded when one of them is first called: it takes a good part of the time that torch takes, and the
    networks are built far more often than they are published.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments of the constructor; a copy is made without any, and brings its own."""
        network = super().__new__(cls)
        network.__dict__["_given"] = (args, kwargs)
        return network

    @property
    def init_args(self) -> dict[str, Any]:
        """Arguments of the constructor by name, defaults included, with the classes that the network has now."""
        args, kwargs = self.__dict__["_given"]
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        now = {"num_classes": self.num_classes} if "num_classes" in bound.arguments else {}  # type: ignore[attr-defined]
        return {**bound.arguments, **now}

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write weights with links (``model.safetensors``), arguments (``config.json``) and a card (``README.md``).

        Args:
            save_directory: The folder; a card that is there already is kept.
            options: Those of ``PyTorchModelHubMixin.save_pretrained``, such as ``push_to_hub``.

        Raises:
            ValueError: If an argument of the network cannot be written as JSON.
        """
        return self._files().save_pretrained(save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload to the Hub what :meth:`save_pretrained` writes.

        Args:
            repo_id: Name of the repository, ``user/name``.
            options: Those of ``PyTorchModelHubMixin.push_to_hub``, such as ``private`` and ``token``.

        Returns:
            Address of the commit.
        """
        return self._files().push_to_hub(repo_id, **options)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Build a network from a folder, or from a repository of the Hub, with its weights and links.

        Args:
            pretrained_model_name_or_path: The folder, or ``user/name``.
            options: Those of ``PyTorchModelHubMixin.from_pretrained``, such as ``revision`` and ``local_files_only``;
                all others replace arguments of the network.

        Returns:
            The network, in evaluation mode, on the processor.

        Raises:
            ValueError: If the folder holds no such network, or the weights fit another.
        """
        from nnmass.zoo.weights.hub_files import HubFiles

        return HubFiles.from_pretrained(pretrained_model_name_or_path, network_class=cls, **options).module

    def _files(self) -> "HubFiles":
        from nnmass.zoo.weights.hub_files import HubFiles

        return HubFiles(self)
