//! Operations: the list, and one operation with its steps.

use crate::{
    error::PageResult,
    form::filter_word,
    format,
    listing::Listing,
    page::{self, Frame},
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::extract::{Path, State};
use chainpool_api as api;
use uuid::Uuid;

#[derive(Template)]
#[template(path = "operations/list.html")]
struct OperationsPage {
    frame: Frame,
    listing: Listing,
    operations: Vec<api::Operation>,
}

/// The list.
pub(crate) async fn list(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let listing = Listing::new(&request, "/operations", &["state", "kind", "host", "cluster"]);
    let filter = api::OperationFilter {
        host: request.query("host"),
        cluster: request.query("cluster"),
        parent: None,
        state: filter_word(&request, "state")?,
        kind: filter_word(&request, "kind")?,
        after: request.query("after"),
        limit: None,
    };
    let found = app.orchestrator.operation_list(&request.caller, &filter).await?;
    let mut operations = found.items;
    listing.sort(&mut operations, |operation, column| match column {
        "state" => Some((0, operation.state.to_string())),
        "kind" => Some((0, operation.kind.to_string())),
        "host" => Some((0, operation.host.clone())),
        "cluster" => Some((0, operation.cluster.clone().unwrap_or_default())),
        "by" => Some((0, operation.by.clone())),
        "begun" => Some((operation.created_at.0, String::new())),
        _ => None,
    });
    let frame = Frame::new(&app, &request, "operations", "Operations")
        .await
        .crumb("Operations", "/operations")
        .live("operation");
    page::html(&OperationsPage {
        frame,
        listing: listing.with_next(found.next),
        operations,
    })
}

#[derive(Template)]
#[template(path = "operations/show.html")]
struct OperationPage {
    frame: Frame,
    operation: api::Operation,
    children: Vec<api::Operation>,
    result: Vec<(String, String)>,
}

/// One operation.
pub(crate) async fn show(
    State(app): State<App>,
    request: AuthedRequest,
    Path(operation): Path<Uuid>,
) -> PageResult {
    let operation = app
        .orchestrator
        .operation_show(&request.caller, operation)
        .await?;
    let children_of = api::OperationFilter {
        parent: Some(operation.id),
        limit: Some(200),
        ..api::OperationFilter::default()
    };
    let children = if operation.cluster_id.is_none() {
        app.orchestrator
            .operation_list(&request.caller, &children_of)
            .await?
            .items
    } else {
        Vec::new()
    };
    let title = match &operation.cluster {
        Some(cluster) => format!("{} {cluster}", format::kind(&operation.kind)),
        None => format!("{} {}", format::kind(&operation.kind), operation.host),
    };
    let frame = Frame::new(&app, &request, "operations", &title)
        .await
        .crumb("Operations", "/operations")
        .crumb(title, "")
        .live("operation");
    let result = operation.result.as_ref().map(format::entries).unwrap_or_default();
    page::html(&OperationPage {
        frame,
        operation,
        children,
        result,
    })
}
