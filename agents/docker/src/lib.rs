//! The hands on a Docker engine.
