"""The part of polyaxon_client that training scripts use: polyaxon_client.tracking."""

__version__ = "0.1.0"
