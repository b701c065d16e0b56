//! Deliver services of orderers and peers: the blocks of a channel from a number on.

use crate::{
    client::call::CallError,
    fabric::{
        client::grpc::{Answers, Grpc},
        crypto::{
            envelope::{Stamp, seal},
            identity::Identity,
        },
        proto::{
            common::{Block, Envelope, HeaderType, Status},
            deliver::{
                DeliverResponse, Delivered, FilteredBlock, Position, SeekBehavior, SeekInfo, SeekNewest,
                SeekPosition, SeekSpecified,
            },
        },
    },
};
use prost::Message;

/// The requested blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seek {
    /// The newest block.
    Newest,
    /// The block of this number; a missing block is an error.
    Number(u64),
    /// All blocks from this number on, also future ones.
    From(u64),
}

/// A deliver service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// An orderer.
    Orderer,
    /// A peer.
    Peer,
    /// A peer; only transaction ids and validation codes.
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

/// A stream of blocks. Waits are unlimited; the caller sets a time limit.
pub(crate) struct Blocks(Answers<DeliverResponse>);

impl Blocks {
    /// Opens the stream.
    pub(crate) async fn open(
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

    /// The next block.
    pub(crate) async fn block(&mut self) -> Result<Block, CallError> {
        match self.0.next().await?.r#type {
            Some(Delivered::Block(block)) => Ok(block),
            other => Err(refused(other.as_ref())),
        }
    }

    /// The next filtered block.
    pub(crate) async fn filtered(&mut self) -> Result<FilteredBlock, CallError> {
        match self.0.next().await?.r#type {
            Some(Delivered::Filtered(block)) => Ok(block),
            other => Err(refused(other.as_ref())),
        }
    }
}

/// The signed seek request.
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
        _ => "the node delivered an unexpected message".to_owned(),
    })
}

/// Human-readable status.
pub(crate) fn status(code: i32) -> String {
    match Status::try_from(code) {
        Ok(Status::NotFound) => "unknown channel or block (NOT_FOUND)".to_owned(),
        Ok(Status::Forbidden) => "access denied (FORBIDDEN)".to_owned(),
        Ok(Status::ServiceUnavailable) => {
            "the node does not participate in ordering at present (SERVICE_UNAVAILABLE)".to_owned()
        }
        Ok(other) => format!("status {code} ({other:?})"),
        Err(_) => format!("status {code}"),
    }
}
