//! The agent against a real engine: `CHAINPOOL_TEST_DOCKER`, or `unix:///var/run/docker.sock`.

mod busybox;
mod connecting;
mod dialing;
mod drift;
mod images;
mod networks;
mod nodes;
mod powers;
mod removals;
mod watching;
mod yard;
