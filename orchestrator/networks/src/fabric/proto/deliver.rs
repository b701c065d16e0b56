//! `orderer/ab.proto`, `peer/events.proto`: broadcasting envelopes and delivering blocks.

use super::common::{Block, Status};
use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct BroadcastResponse {
    #[prost(enumeration = "Status", tag = "1")]
    pub(crate) status: i32,
    #[prost(string, tag = "2")]
    pub(crate) info: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SeekNewest {}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SeekOldest {}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SeekSpecified {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SeekPosition {
    #[prost(oneof = "Position", tags = "1, 2, 3")]
    pub(crate) r#type: Option<Position>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub(crate) enum Position {
    #[prost(message, tag = "1")]
    Newest(SeekNewest),
    #[prost(message, tag = "2")]
    Oldest(SeekOldest),
    #[prost(message, tag = "3")]
    Specified(SeekSpecified),
}

/// Behaviour for a block that does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum SeekBehavior {
    BlockUntilReady = 0,
    FailIfNotReady = 1,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SeekInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) start: Option<SeekPosition>,
    #[prost(message, optional, tag = "2")]
    pub(crate) stop: Option<SeekPosition>,
    #[prost(enumeration = "SeekBehavior", tag = "3")]
    pub(crate) behavior: i32,
}

/// Response of an orderer's and of a peer's `Deliver`. A peer's other calls return further types.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct DeliverResponse {
    #[prost(oneof = "Delivered", tags = "1, 2, 3")]
    pub(crate) r#type: Option<Delivered>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum Delivered {
    #[prost(enumeration = "Status", tag = "1")]
    Status(i32),
    #[prost(message, tag = "2")]
    Block(Block),
    #[prost(message, tag = "3")]
    Filtered(FilteredBlock),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FilteredBlock {
    #[prost(string, tag = "1")]
    pub(crate) channel_id: String,
    #[prost(uint64, tag = "2")]
    pub(crate) number: u64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) filtered_transactions: Vec<FilteredTransaction>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FilteredTransaction {
    #[prost(string, tag = "1")]
    pub(crate) txid: String,
    /// 0: valid.
    #[prost(int32, tag = "3")]
    pub(crate) tx_validation_code: i32,
}
