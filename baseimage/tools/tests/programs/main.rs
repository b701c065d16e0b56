//! Tests of the programs of our images as processes.

mod init;
mod place;
mod probe;
