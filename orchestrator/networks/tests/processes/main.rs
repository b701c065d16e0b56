//! Network types against the real programs without a platform: each node is a process on this machine.
//!
//! `make test-full PARTS=processes` builds the programs and runs these tests. By hand, as root on Linux:
//! `COMETBFT=PROGRAM FABRIC_TOOLS=$(scripts/fabric-tools.sh) cargo test -p chainpool-networks --test
//! processes -- --test-threads 1`

mod cometbft;
mod cometbft_network;
mod fabric;
mod fabric_3;
mod fabric_network;
mod local;
