//! `orderer/configuration.proto`, `orderer/etcdraft/configuration.proto`,
//! `orderer/smartbft/configuration.proto`: ordering configuration of a channel.

use super::lossless::Lossless;
use prost::{Enumeration, Message};

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConsensusType {
    #[prost(string, tag = "1")]
    pub(crate) r#type: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) metadata: Vec<u8>,
    /// 0: normal, 1: maintenance.
    #[prost(int32, tag = "3")]
    pub(crate) state: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct BatchSize {
    #[prost(uint32, tag = "1")]
    pub(crate) max_message_count: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) absolute_max_bytes: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) preferred_max_bytes: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct BatchTimeout {
    /// As Go writes durations: `2s`, `250ms`.
    #[prost(string, tag = "1")]
    pub(crate) timeout: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ChannelRestrictions {
    #[prost(uint64, tag = "1")]
    pub(crate) max_count: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RaftMetadata {
    #[prost(message, repeated, tag = "1")]
    pub(crate) consenters: Vec<Lossless<RaftConsenter>>,
    #[prost(message, optional, tag = "2")]
    pub(crate) options: Option<Lossless<RaftOptions>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RaftConsenter {
    #[prost(string, tag = "1")]
    pub(crate) host: String,
    #[prost(uint32, tag = "2")]
    pub(crate) port: u32,
    /// PEM.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) client_tls_cert: Vec<u8>,
    /// PEM.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) server_tls_cert: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RaftOptions {
    #[prost(string, tag = "1")]
    pub(crate) tick_interval: String,
    #[prost(uint32, tag = "2")]
    pub(crate) election_tick: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) heartbeat_tick: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) max_inflight_blocks: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) snapshot_interval_size: u32,
}

/// Rotation of BFT leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum Rotation {
    Unspecified = 0,
    Off = 1,
    On = 2,
}

/// `smartbft.Options`. Times are as Go writes durations.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct BftOptions {
    #[prost(uint64, tag = "1")]
    pub(crate) request_batch_max_count: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) request_batch_max_bytes: u64,
    #[prost(string, tag = "3")]
    pub(crate) request_batch_max_interval: String,
    #[prost(uint64, tag = "4")]
    pub(crate) incoming_message_buffer_size: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) request_pool_size: u64,
    #[prost(string, tag = "6")]
    pub(crate) request_forward_timeout: String,
    #[prost(string, tag = "7")]
    pub(crate) request_complain_timeout: String,
    #[prost(string, tag = "8")]
    pub(crate) request_auto_remove_timeout: String,
    #[prost(uint64, tag = "9")]
    pub(crate) request_max_bytes: u64,
    #[prost(string, tag = "10")]
    pub(crate) view_change_resend_interval: String,
    #[prost(string, tag = "11")]
    pub(crate) view_change_timeout: String,
    #[prost(string, tag = "12")]
    pub(crate) leader_heartbeat_timeout: String,
    #[prost(uint64, tag = "13")]
    pub(crate) leader_heartbeat_count: u64,
    #[prost(string, tag = "14")]
    pub(crate) collect_timeout: String,
    #[prost(bool, tag = "15")]
    pub(crate) sync_on_start: bool,
    #[prost(bool, tag = "16")]
    pub(crate) speed_up_view_change: bool,
    #[prost(enumeration = "Rotation", tag = "17")]
    pub(crate) leader_rotation: i32,
    #[prost(uint64, tag = "18")]
    pub(crate) decisions_per_leader: u64,
}
