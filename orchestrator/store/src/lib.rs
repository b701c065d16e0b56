//! Persistence: the only crate that knows SQL.
//!
//! Reads go through [`Store::read`], writes through [`Store::begin`]. A [`Tx`] is one immediate transaction. It
//! writes its changes to the outbox too, and listeners in this process are notified of them after the commit. The hot path, apply, has its own writer.

mod apply;
mod clock;
mod datastore;
mod entity;
mod error;
mod file;
mod keys;
mod migration;
mod outbox;
#[cfg(any(test, feature = "testing"))]
mod query_count;
mod restore;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod value;
mod write;

pub use apply::{ApplyOutcome, ApplyRequest, LeaseNames};
pub use clock::Clock;
pub use datastore::{
    Audit, ClusterQuery, HostSecrets, HostUsage, Labels, LeaseQuery, NewOperation, OfferFilter,
    OperationQuery, Progress, StoredSpec,
};
pub use entity::{
    account::Model as AccountRow,
    audit::Model as AuditRow,
    cluster::Model as ClusterRow,
    health_change::Model as HealthChangeRow,
    host::{FillPause, Model as HostRow},
    idempotency::Model as IdempotencyRow,
    lease::Model as LeaseRow,
    operation::Model as OperationRow,
    port::Model as PortRow,
    step::Model as StepRow,
    token::Model as TokenRow,
};
pub use error::{Error, Result};
pub use keys::Key;
pub use outbox::SequencedEvent;
pub use restore::{Restored, restore};
pub use store::{CommitHook, Conn, DATABASE, Reader, Store, Tx};
pub use value::{EnumColumn, Json, Moment, RowVersion};
pub use write::{Priority, WriteTransaction};
