"""Records of a run: topology, metrics, curves, checkpoints, status. Each callback: one hook, one file.

A name loads its module, and Lightning, only when it is first used: reading and writing a run's files needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callbacks.averages import AverageNotes
    from callbacks.checkpoint_io import AtomicCheckpointIO
    from callbacks.complete_resume import CompleteResume
    from callbacks.confusion_matrix import ConfusionMatrix
    from callbacks.curves import LearningCurves
    from callbacks.data_wait import DataWait
    from callbacks.finite_loss import FiniteLoss, NonFiniteLossError
    from callbacks.gradient_buckets import GradientBuckets
    from callbacks.jacobian_recorder import JacobianRecorder
    from callbacks.metrics_table import MetricsHistory, MetricsTable
    from callbacks.pictures import log_picture
    from callbacks.progress import EpochLines
    from callbacks.random_state import RandomState
    from callbacks.resume_checkpoint import ResumeCheckpoint, TrainingStopped
    from callbacks.run_recorder import RunRecorder
    from callbacks.step_protocol import StepProtocol
    from callbacks.tolerant_logger import TolerantLogger
    from callbacks.topology_recorder import TopologyRecorder

_HOME = {
    "AtomicCheckpointIO": "checkpoint_io",
    "AverageNotes": "averages",
    "CompleteResume": "complete_resume",
    "ConfusionMatrix": "confusion_matrix",
    "DataWait": "data_wait",
    "EpochLines": "progress",
    "FiniteLoss": "finite_loss",
    "GradientBuckets": "gradient_buckets",
    "JacobianRecorder": "jacobian_recorder",
    "LearningCurves": "curves",
    "MetricsHistory": "metrics_table",
    "MetricsTable": "metrics_table",
    "NonFiniteLossError": "finite_loss",
    "RandomState": "random_state",
    "ResumeCheckpoint": "resume_checkpoint",
    "RunRecorder": "run_recorder",
    "StepProtocol": "step_protocol",
    "TolerantLogger": "tolerant_logger",
    "TopologyRecorder": "topology_recorder",
    "TrainingStopped": "resume_checkpoint",
    "log_picture": "pictures",
}

__all__ = [
    "AtomicCheckpointIO",
    "AverageNotes",
    "CompleteResume",
    "ConfusionMatrix",
    "DataWait",
    "EpochLines",
    "FiniteLoss",
    "GradientBuckets",
    "JacobianRecorder",
    "LearningCurves",
    "MetricsHistory",
    "MetricsTable",
    "NonFiniteLossError",
    "RandomState",
    "ResumeCheckpoint",
    "RunRecorder",
    "StepProtocol",
    "TolerantLogger",
    "TopologyRecorder",
    "TrainingStopped",
    "log_picture",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # from now on it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
