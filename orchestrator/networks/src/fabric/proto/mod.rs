//! The messages of Fabric that we write or read, as `prost` structs.
//!
//! Names and field numbers are those of `fabric-protos`. Only what is used is here: a handful of messages by hand costs less
//! than a build that needs `protoc` and compiles all of them. Maps are `BTreeMap`s, so that the same message gives the same bytes.

pub(super) mod common;
pub(super) mod configtx;
pub(super) mod deliver;
pub(super) mod discovery;
pub(super) mod lifecycle;
pub(super) mod msp;
pub(super) mod orderer;
pub(super) mod peer;
