"""The option --device."""

import pytest
import torch

from nnmass.commands.options.devices import device_named


def test_a_gpu_is_taken_where_there_is_one_and_one_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert device_named("cpu") == torch.device("cpu")
    for name, answer in (("is_available", True), ("current_device", 1), ("device_count", 2)):
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    assert device_named("auto") == device_named("cuda") == torch.device("cuda", 1)
    assert device_named("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(ValueError, match=r"Expected --device to be cuda:0 to cuda:1, but got cuda:2\."):
        device_named("cuda:2")
