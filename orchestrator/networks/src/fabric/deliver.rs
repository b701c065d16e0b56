//! Blocks of a channel as orderers and peers deliver them, each from a number on as soon as it is there.

use super::{
    connect::{Answers, CallError, Grpc},
    envelope::{Stamp, seal},
    identity::Identity,
    proto::{
        common::{Block, Envelope, HeaderType, Status},
        deliver::{
            DeliverResponse, Delivered, FilteredBlock, Position, SeekBehavior, SeekInfo, SeekNewest,
            SeekPosition, SeekSpecified,
        },
    },
};
use prost::Message;

/// Which blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seek {
    /// The newest one; no other.
    Newest,
    /// The one of this number; no other. It is an error that it is not there.
    Number(u64),
    /// All from this number on, without end.
    From(u64),
}

/// Who delivers, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// An orderer.
    Orderer,
    /// A peer.
    Peer,
    /// A peer; only ids and validity of what is in the blocks.
    Filtered,
}

impl Service {
    fn path(self) -> &'static str {
        match self {
            Self::Orderer => "/orderer.AtomicBroadcast/Deliver",
            Self::Peer => "/protos.Deliver/Deliver",
            Self::Filtered => "/protos.Deliver/DeliverFiltered",
        }
    }
}

/// Blocks as they come. Waits without end: the caller sets the limit.
pub(super) struct Blocks(Answers<DeliverResponse>);

impl Blocks {
    /// Asks for blocks.
    pub(super) async fn open(
        grpc: &Grpc,
        service: Service,
        identity: &Identity,
        channel: &str,
        seek: Seek,
    ) -> Result<Self, CallError> {
        Ok(Self(
            grpc.stream(service.path(), question(identity, channel, seek))
                .await?,
        ))
    }

    /// The next whole block.
    pub(super) async fn block(&mut self) -> Result<Block, CallError> {
        match self.0.next().await?.r#type {
            Some(Delivered::Block(block)) => Ok(block),
            other => Err(refused(other.as_ref())),
        }
    }

    /// The next filtered block.
    pub(super) async fn filtered(&mut self) -> Result<FilteredBlock, CallError> {
        match self.0.next().await?.r#type {
            Some(Delivered::Filtered(block)) => Ok(block),
            other => Err(refused(other.as_ref())),
        }
    }
}

/// What a node is asked for blocks with.
fn question(identity: &Identity, channel: &str, seek: Seek) -> Envelope {
    let at = |number| Position::Specified(SeekSpecified { number });
    let newest = Position::Newest(SeekNewest {});
    let (start, stop, behavior) = match seek {
        Seek::Newest => (newest, newest, SeekBehavior::BlockUntilReady),
        Seek::Number(number) => (at(number), at(number), SeekBehavior::FailIfNotReady),
        Seek::From(number) => (at(number), at(u64::MAX), SeekBehavior::BlockUntilReady),
    };
    let position = |position| {
        Some(SeekPosition {
            r#type: Some(position),
        })
    };
    let seek = SeekInfo {
        start: position(start),
        stop: position(stop),
        behavior: behavior.into(),
    };
    let header = Stamp::new(identity).header(HeaderType::DeliverSeekInfo, channel, Vec::new());
    seal(identity, header, seek.encode_to_vec())
}

fn refused(answer: Option<&Delivered>) -> CallError {
    CallError::Refused(match answer {
        Some(Delivered::Status(code)) => status(*code),
        _ => "it delivers something that was not asked for".to_owned(),
    })
}

/// A status in words.
pub(super) fn status(code: i32) -> String {
    match Status::try_from(code) {
        Ok(Status::NotFound) => "it does not know the channel or the block (NOT_FOUND)".to_owned(),
        Ok(Status::Forbidden) => "it forbids it (FORBIDDEN)".to_owned(),
        Ok(Status::ServiceUnavailable) => "it has no part in ordering now (SERVICE_UNAVAILABLE)".to_owned(),
        Ok(other) => format!("status {code} ({other:?})"),
        Err(_) => format!("status {code}"),
    }
}
