"""What is recorded of a run: topology, metrics, curves, checkpoints, status. Each callback: one hook, one file."""

from callbacks.checkpoint_io import AtomicCheckpointIO
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

__all__ = [
    "AtomicCheckpointIO",
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
