//! `chainpool operation …`, and how operations are said everywhere.

use crate::{
    args::{ListArgs, word},
    client::Client,
    exit::Result,
    output::{self, NONE, maybe, maybe_when, when},
    span, wait,
};
use chainpool_api::{Operation, OperationFilter, OperationKind, OperationState};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::fmt::Write as _;
use uuid::Uuid;

/// What can be done with operations.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists operations, the newest first
    List(FilterArgs),
    /// Shows one with its steps
    Show {
        /// Its id
        operation: Uuid,
    },
    /// Waits until one is over and shows its steps as they happen; ends with 1 when it failed
    Wait {
        /// Its id
        operation: Uuid,
        /// Waits no longer than this; the operation goes on
        #[arg(long, value_name = "TIME", value_parser = span::seconds)]
        timeout: Option<u64>,
    },
}

/// Which operations to list.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Of this host (name or id)
    #[arg(long)]
    host: Option<String>,
    /// Of this cluster (name or id)
    #[arg(long)]
    cluster: Option<String>,
    /// Parts of this operation
    #[arg(long, value_name = "OPERATION")]
    parent: Option<Uuid>,
    /// In this state
    #[arg(long, value_parser = word!(OperationState))]
    state: Option<OperationState>,
    /// Of this kind
    #[arg(long, value_parser = word!(OperationKind))]
    kind: Option<OperationKind>,
    #[command(flatten)]
    list: ListArgs,
}

/// Does a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::List(args) => {
            let FilterArgs {
                host,
                cluster,
                parent,
                state,
                kind,
                list,
            } = args;
            let filter = OperationFilter {
                host,
                cluster,
                parent,
                state,
                kind,
                after: None,
                limit: None,
            };
            let answer = client.operation_list(&filter, list.limit).await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(table(&answer.value.items))
            }
        }
        Verb::Show { operation } => {
            let answer = client.operation_show(operation).await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(details(&answer.value))
            }
        }
        Verb::Wait { operation, timeout } => {
            let answer = wait::follow(client, operation, timeout).await?;
            if json {
                output::json(&answer.json)?;
            } else if answer.value.state == OperationState::Succeeded {
                output::line(ended(&answer.value))?;
            }
            wait::verdict(&answer.value)
        }
    }
}

/// What an operation does with what: `cluster_create alpha on h1`.
pub(crate) fn subject(operation: &Operation) -> String {
    match &operation.cluster {
        Some(cluster) => format!("{} {cluster} on {}", operation.kind, operation.host),
        None => format!("{} {}", operation.kind, operation.host),
    }
}

/// Says that an operation was accepted, and how to see its end.
pub(crate) fn accepted(operation: &Operation) -> String {
    format!(
        "{}: accepted\nsee it done with `chainpool operation wait {}`",
        subject(operation),
        operation.id
    )
}

/// Says how an operation ended.
pub(crate) fn ended(operation: &Operation) -> String {
    let mut text = format!("{}: {}", subject(operation), operation.state);
    if let (Some(start), Some(end)) = (operation.started_at, operation.ended_at) {
        let _infallible = write!(text, " in {}", span::took(end.millis_since(start)));
    }
    if let Some(error) = &operation.error {
        let _infallible = write!(text, "\n  {}", output::clean(error));
    }
    if let Some(result) = &operation.result {
        text.push_str(&result_lines(result));
    }
    text
}

/// What came of it, a line a value.
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

/// Operations, a line each.
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

fn details(operation: &Operation) -> String {
    let mut rows = vec![
        ("id", operation.id.to_string()),
        ("kind", operation.kind.to_string()),
        ("state", operation.state.to_string()),
        ("host", operation.host.clone()),
        ("cluster", maybe(operation.cluster.as_ref())),
        ("part of", maybe(operation.parent_id.as_ref())),
        ("by", operation.by.clone()),
        ("reason", operation.reason.clone()),
        ("accepted", when(operation.created_at)),
        ("begun", maybe_when(operation.started_at)),
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
                .map(|(start, end)| span::took(end.millis_since(start)));
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
            output::table(&["STEP", "WHAT", "STATE", "TOOK", "NOTE"], steps.collect())
        );
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use chainpool_api::{Step, StepState, Timestamp};
    use serde_json::json;

    /// An operation of two steps: one done, one under way.
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
    fn the_end_says_what_came_of_it() {
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
        assert_eq!(wait::verdict(&operation).unwrap_err().exit.code(), 1);
    }

    #[test]
    fn the_steps_are_shown() {
        let text = details(&example());
        let steps: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.starts_with("STEP"))
            .collect();
        insta::assert_snapshot!(steps.join("\n"));
    }
}
