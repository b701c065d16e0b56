//! Operations as text.

use crate::{
    duration,
    output::{self, NONE, maybe, maybe_when, when},
};
use chainpool_api::Operation;
use serde_json::Value;
use std::fmt::Write as _;

/// Kind and resource of an operation: `cluster_create alpha on h1`.
pub(crate) fn subject(operation: &Operation) -> String {
    match &operation.cluster {
        Some(cluster) => format!("{} {cluster} on {}", operation.kind, operation.host),
        None => format!("{} {}", operation.kind, operation.host),
    }
}

/// Message for an accepted operation, with the command to wait for it.
pub(crate) fn accepted(operation: &Operation) -> String {
    format!(
        "{}: accepted\nwait for it with `chainpool operation wait {}`",
        subject(operation),
        operation.id
    )
}

/// Message for an ended operation: state, duration, error and result.
pub(crate) fn ended(operation: &Operation) -> String {
    let mut text = format!("{}: {}", subject(operation), operation.state);
    if let (Some(start), Some(end)) = (operation.started_at, operation.ended_at) {
        let _infallible = write!(text, " in {}", duration::elapsed(end.millis_since(start)));
    }
    if let Some(error) = &operation.error {
        let _infallible = write!(text, "\n  {}", output::clean(error));
    }
    if let Some(result) = &operation.result {
        text.push_str(&result_lines(result));
    }
    text
}

/// The result of an operation, one value per line.
fn result_lines(result: &Value) -> String {
    match result {
        Value::Null => String::new(),
        Value::Object(object) => object.iter().fold(String::new(), |mut lines, (name, value)| {
            let _infallible = write!(lines, "\n  {name}: {}", plain(value));
            lines
        }),
        other => format!("\n  {}", plain(other)),
    }
}

fn plain(value: &Value) -> String {
    output::clean(
        &value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned),
    )
}

/// Operations, one per line.
pub(crate) fn table(operations: &[Operation]) -> String {
    let rows = operations.iter().map(|operation| {
        let Operation {
            id,
            kind,
            state,
            host,
            cluster,
            by,
            reason,
            created_at,
            done,
            total,
            error,
            ..
        } = operation;
        let why = error.as_ref().unwrap_or(reason);
        vec![
            id.to_string(),
            kind.to_string(),
            host.clone(),
            maybe(cluster.as_ref()),
            state.to_string(),
            format!("{done}/{total}"),
            by.clone(),
            when(*created_at),
            why.clone(),
        ]
    });
    output::table(
        &[
            "ID", "KIND", "HOST", "CLUSTER", "STATE", "DONE", "BY", "ACCEPTED", "REASON",
        ],
        rows.collect(),
    )
}

/// An operation with its steps.
pub(crate) fn details(operation: &Operation) -> String {
    let mut rows = vec![
        ("id", operation.id.to_string()),
        ("kind", operation.kind.to_string()),
        ("state", operation.state.to_string()),
        ("host", operation.host.clone()),
        ("cluster", maybe(operation.cluster.as_ref())),
        ("parent", maybe(operation.parent_id.as_ref())),
        ("by", operation.by.clone()),
        ("reason", operation.reason.clone()),
        ("accepted", when(operation.created_at)),
        ("started", maybe_when(operation.started_at)),
        ("ended", maybe_when(operation.ended_at)),
        ("done", format!("{} of {}", operation.done, operation.total)),
    ];
    rows.extend(operation.error.as_ref().map(|error| ("error", error.clone())));
    let mut text = output::fields(&rows);
    if let Some(result) = &operation.result {
        let _infallible = write!(text, "\nresult{}", result_lines(result));
    }
    if !operation.steps.is_empty() {
        let steps = operation.steps.iter().map(|step| {
            let took = step
                .started_at
                .zip(step.ended_at)
                .map(|(start, end)| duration::elapsed(end.millis_since(start)));
            let note = step.note.clone().unwrap_or_else(|| NONE.to_owned());
            vec![
                (step.seq + 1).to_string(),
                step.title.clone(),
                step.state.to_string(),
                maybe(took.as_ref()),
                note,
            ]
        });
        let _infallible = write!(
            text,
            "\n\n{}",
            output::table(&["STEP", "TITLE", "STATE", "DURATION", "NOTE"], steps.collect())
        );
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wait;
    use chainpool_api::{OperationKind, OperationState, Step, StepState, Timestamp};
    use serde_json::json;
    use uuid::Uuid;

    /// An operation of two steps: one done, one in progress.
    pub(crate) fn example() -> Operation {
        let step = |seq, title: &str, state, end: Option<i64>| Step {
            seq,
            title: title.into(),
            state,
            started_at: Some(Timestamp(1_000)),
            ended_at: end.map(Timestamp),
            note: None,
        };
        Operation {
            id: Uuid::from_u128(7),
            kind: OperationKind::ClusterCreate,
            state: OperationState::Running,
            host_id: Uuid::from_u128(1),
            host: "h1".into(),
            cluster_id: Some(Uuid::from_u128(2)),
            cluster: Some("alpha".into()),
            parent_id: None,
            by: "admin".into(),
            reason: "asked for".into(),
            created_at: Timestamp(0),
            started_at: Some(Timestamp(1_000)),
            ended_at: None,
            done: 1,
            total: 2,
            steps: vec![
                step(0, "network", StepState::Done, Some(1_200)),
                step(1, "node node0", StepState::Started, None),
            ],
            result: None,
            error: None,
        }
    }

    #[test]
    fn an_ended_operation_shows_its_result_or_error() {
        let mut operation = example();
        operation.state = OperationState::Succeeded;
        operation.ended_at = Some(Timestamp(3_950));
        operation.result = Some(json!({ "transaction": "AB12", "height": 3 }));
        assert_eq!(
            ended(&operation),
            "cluster_create alpha on h1: succeeded in 2.9s\n  height: 3\n  transaction: AB12"
        );
        operation.state = OperationState::Failed;
        operation.error = Some("the image is missing".into());
        operation.result = None;
        assert_eq!(
            ended(&operation),
            "cluster_create alpha on h1: failed in 2.9s\n  the image is missing"
        );
        assert_eq!(wait::check_success(&operation).unwrap_err().exit.code(), 1);
    }

    #[test]
    fn details_list_the_steps() {
        let text = details(&example());
        let steps: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.starts_with("STEP"))
            .collect();
        insta::assert_snapshot!(steps.join("\n"));
    }
}
