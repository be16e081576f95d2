"""Training from recipes: data, networks, one run's loop, and the folder that it leaves."""

from .config import Config, ConfigError, read
from .networks import NETWORKS, build
from .runs import load

__all__ = ["NETWORKS", "Config", "ConfigError", "build", "load", "read"]
