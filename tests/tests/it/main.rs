//! Promises to users, each tested against a real engine and real ledgers. Every test ends in a census.

mod backup;
mod bad_input;
mod browser;
mod clusters;
mod crash;
mod engine_restart;
mod fabric;
mod fabric_bft;
mod fabric_ca;
mod fabric_couchdb;
mod foreign;
mod health;
mod holder;
mod hosts;
mod jobs;
mod keys;
mod leases;
mod leftovers;
mod loss;
mod passes;
mod steady;
mod subnets;
mod support;
mod sweep;
