//! The only place that knows SQL.
//!
//! Reads go through [`Store::read`], writes through [`Store::begin`]: a [`Tx`] is one immediate transaction, and what
//! it changed is told to listeners only after it was committed. The hot path, apply, has a writer of its own.

mod apply;
mod clock;
mod datastore;
mod entity;
mod error;
mod file;
mod keys;
mod migration;
mod restore;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod value;
mod write;

pub use apply::{ApplyOrder, ApplyOutcome, LeaseNames};
pub use clock::Clock;
pub use datastore::{
    Audit, ClusterQuery, FillPause, HostSecrets, HostSettings, Labels, LeaseQuery, NewOperation,
    OperationQuery, StoredSpec,
};
pub use entity::{
    account::Model as AccountRow, audit::Model as AuditRow, cluster::Model as ClusterRow,
    health_change::Model as HealthChangeRow, host::Model as HostRow, idempotency::Model as IdempotencyRow,
    lease::Model as LeaseRow, operation::Model as OperationRow, port::Model as PortRow,
    step::Model as StepRow, token::Model as TokenRow,
};
pub use error::{Error, Result};
pub use keys::Key;
pub use restore::{Restored, restore};
pub use store::{CommitHook, Conn, DATABASE, Reader, Store, Tx};
pub use value::{Json, Moment, Word};
pub use write::WriteTransaction;
