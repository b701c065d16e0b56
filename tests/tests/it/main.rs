//! Promises to users, tested on a real engine with real ledgers, or on the platform in memory where no engine has a part in
//! them. Every test ends in a census.
//!
//! `make test` leaves out what is in `full`; `make test-full` runs it.

mod backup;
mod bad_input;
mod browser;
mod clusters;
mod fabric;
mod full;
mod holder;
mod hosts;
mod keys;
mod leases;
mod memory;
mod support;
