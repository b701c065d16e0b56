//! Fabric's messages as `prost` structs.
//!
//! Names and field numbers are those of `fabric-protos`. Only used messages are included: a few handwritten
//! structs cost less than a build with `protoc`. Maps are `BTreeMap`s, so the same message gives the same
//! bytes. Messages that are decoded, changed and encoded again are [`lossless`].

pub(super) mod common;
pub(super) mod configtx;
pub(super) mod deliver;
pub(super) mod discovery;
pub(super) mod lifecycle;
pub(super) mod lossless;
pub(super) mod msp;
pub(super) mod orderer;
pub(super) mod peer;
