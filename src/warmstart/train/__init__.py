"""One training loop with early stopping, checkpoints and resume, shared by backbones and LMs."""

from warmstart.train.loop import Schedule, Trainee, TrainResult, run_epochs
from warmstart.train.stage import train_stage
from warmstart.train.torch_trainee import StepConfig, TorchTrainee, torch_generator

__all__ = [
    "Schedule",
    "StepConfig",
    "TorchTrainee",
    "TrainResult",
    "Trainee",
    "run_epochs",
    "torch_generator",
    "train_stage",
]
