"""The configuration: one ``ainf.toml`` and the environment, checked whole at start.

``schema`` declares every setting once: name, default, unit, meaning. ``load`` reads a file against it and finds every
fault at once, each with its line and dotted key.
"""

from ainf.config.load import ConfigError, Fault, load_config
from ainf.config.process import Limits, ServerConfig, StoreConfig
from ainf.config.routing import RoutingConfig, TargetConfig
from ainf.config.schema import SETTINGS, Config, ModelConfig, ProviderConfig, Setting, document
from ainf.config.values import Address

__all__ = [
    "SETTINGS",
    "Address",
    "Config",
    "ConfigError",
    "Fault",
    "Limits",
    "ModelConfig",
    "ProviderConfig",
    "RoutingConfig",
    "ServerConfig",
    "Setting",
    "StoreConfig",
    "TargetConfig",
    "document",
    "load_config",
]
