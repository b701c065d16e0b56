//! Tests of `make test-full`: sweeps, faults, long waits and large networks.

mod adoption;
mod cometbft;
mod crash;
mod drift;
mod engine_restart;
mod fabric;
mod fabric_bft;
mod fabric_ca;
mod fabric_couchdb;
mod fabric_definition;
mod foreign;
mod health;
mod jobs;
mod leftovers;
mod loss;
mod lost_data;
mod passes;
mod steady;
mod sweep;
