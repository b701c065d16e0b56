//! The agent against a real engine: `CHAINPOOL_TEST_DOCKER`, or `unix:///var/run/docker.sock`.

mod busybox;
mod connecting;
mod dialing;
mod drift;
mod fixture;
mod images;
mod networks;
mod nodes;
mod power;
mod removals;
mod watching;
