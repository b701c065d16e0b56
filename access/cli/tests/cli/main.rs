//! Tests of the binary as scripts use it, mostly against a fake server in the test process that records
//! requests.

mod connection;
mod files;
mod full_disk;
mod offline;
mod profiles;
mod server;
mod startup;
mod tls;
mod verbs;
mod wait;
