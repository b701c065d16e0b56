//! Tests of the REST API: the real router on the real façade and store, without a network.

#![expect(clippy::unwrap_used, reason = "a test must stop at the first error")]

mod app;
mod auth;
mod bodies;
mod conformance;
mod dashboard;
mod fixture;
mod holders;
mod matrix;
mod openapi;
mod operations;
mod pages;
mod queries;
mod schema_validator;
mod searches;
mod sessions;
mod status;
mod streams;
