"""Every transition of the storage, each as a short story with one command that may meet a fault."""

from . import producing, reaping, working
from .registry import TRANSITIONS, Story

__all__ = ["TRANSITIONS", "Story", "producing", "reaping", "working"]
