//! Signs of a ledger's progress.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Sign of a ledger's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A position that only grows: a block height, an offset, a clock.
    At(u64),
    /// The ledger works, and its progress has no order.
    Alive,
}

impl Progress {
    /// The position, if the progress has an order.
    pub fn position(self) -> Option<u64> {
        match self {
            Self::At(position) => Some(position),
            Self::Alive => None,
        }
    }
}
