"""Training: from recipes, by `python -m horq.train`, and of a program's own module, by `fit`."""

from .config import Config, ConfigError, read
from .fitting import Fitted, fit
from .networks import NETWORKS, build, pixels
from .runs import load
from .users import NetworkError

__all__ = ["NETWORKS", "Config", "ConfigError", "Fitted", "NetworkError", "build", "fit", "load", "pixels", "read"]
