//! The typed result of an operation.

use chainpool_agent::NodeName;
use chainpool_api as api;
use chainpool_store::{Json, OperationRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The outcome of an operation, stored as its result. An absent part is not stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Outcome {
    /// The transaction that proved the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<api::Proof>,
    /// The nodes that were started on new volumes because theirs were gone.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) new_volumes: BTreeSet<NodeName>,
    /// The reason why a fillup did not reach the capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limited_by: Option<String>,
    /// The number of clusters that a fillup created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) made: Option<usize>,
    /// The number of clusters that a clean or reset deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<usize>,
    /// The number of clusters that an operation on a host failed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<usize>,
    /// The lease that an apply created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Uuid>,
}

impl Outcome {
    /// Reads the outcome so far; empty if nothing is stored. An unreadable one is an error: without it a proven
    /// cluster would be unproven.
    pub(crate) fn of(operation: &OperationRow) -> Result<Self, serde_json::Error> {
        match &operation.result {
            Some(stored) => Self::deserialize(&stored.0),
            None => Ok(Self::default()),
        }
    }

    /// The stored form.
    pub(crate) fn stored(&self) -> Json<Value> {
        Json(serde_json::to_value(self).expect("an outcome has string keys"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round_trip(stored: &Value) -> Value {
        let outcome = Outcome::deserialize(stored).expect("an outcome");
        outcome.stored().0
    }

    #[test]
    fn the_stored_form_is_that_of_previous_versions() {
        let proof = api::Proof {
            transaction: "t".into(),
            height: 7,
            key: "k".into(),
            value: "v".into(),
            written_to: "v0".into(),
            read_from: "v1".into(),
            at: api::Timestamp(1),
        };
        for stored in [
            json!({}),
            json!({"limited_by": "no memory"}),
            json!({"made": 0, "failed": 2, "limited_by": "no memory"}),
            json!({"deleted": 3, "failed": 0}),
            json!({"new_volumes": ["v0", "v1"]}),
            json!({"lease": Uuid::nil()}),
            json!({"proof": proof}),
        ] {
            assert_eq!(round_trip(&stored), stored);
        }
    }

    #[test]
    fn an_unreadable_result_is_an_error() {
        for stored in [json!({"proof": 1}), json!({"unknown": true}), json!("x")] {
            assert!(Outcome::deserialize(&stored).is_err(), "{stored}");
        }
    }
}
