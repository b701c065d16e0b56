//! Promises to users, each tested against a real engine and real ledgers. Every test ends in a census.
//!
//! `make test` leaves out what is in `full`; `make test-full` runs it.

mod backup;
mod bad_input;
mod browser;
mod clusters;
mod fabric;
mod foreign;
mod full;
mod health;
mod holder;
mod hosts;
mod jobs;
mod keys;
mod leases;
mod support;
