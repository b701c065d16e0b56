//! The REST API as a client meets it: the real router on the real façade and store, without a network in between.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod app;
mod auth;
mod bodies;
mod dashboard;
mod described;
mod description;
mod holders;
mod matrix;
mod openapi;
mod operations;
mod pages;
mod searches;
mod sessions;
mod status;
mod streams;
mod world;
