//! Integration tests of user-visible behavior, on a real engine with real ledgers, or on the platform in
//! memory where no engine is involved. Every test ends with a leak check.
//!
//! `make test` skips the module `full`; `make test-full` runs it.

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
