//! Cluster actions: preview, then run.

use crate::{
    action_preview::ClusterAction,
    confirm::{self, Confirm},
    error::PageResult,
    form::Form,
    page::Frame,
    redirect::see_other,
    request::AuthedRequest,
    state::App,
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use chainpool_api as api;
use chainpool_orchestrator::Error;

/// Shows the preview of an action.
pub(crate) async fn preview(
    State(app): State<App>,
    request: AuthedRequest,
    Path((cluster, action)): Path<(String, String)>,
) -> PageResult {
    let action = parse(&action)?;
    let cluster = app.orchestrator.cluster_show(&request.caller, &cluster).await?;
    let mut form = Form::default();
    if let Some(node) = request.query("node") {
        form.fill("node", node);
    }
    ask(&app, &request, &cluster, action, form).await
}

/// Runs the action.
pub(crate) async fn run(
    State(app): State<App>,
    request: AuthedRequest,
    Path((cluster, action)): Path<(String, String)>,
    form: Form,
) -> PageResult {
    let action = parse(&action)?;
    let cluster = app.orchestrator.cluster_show(&request.caller, &cluster).await?;
    match perform(&app, &request, &cluster, action, &form).await {
        Ok(response) => Ok(response),
        Err(error) => {
            ask(
                &app,
                &request,
                &cluster,
                action,
                confirm::rejected(form, error, &request.info)?,
            )
            .await
        }
    }
}

/// Starts or ends maintenance.
pub(crate) async fn maintenance(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
    form: Form,
) -> PageResult {
    let mut reader = form.reader();
    let minutes = reader.number::<u32>("minutes").unwrap_or_default();
    let minutes = reader.finish(minutes)?;
    let change = api::ClusterUpdate {
        maintenance_seconds: Some(minutes.saturating_mul(60)),
    };
    let cluster = app
        .orchestrator
        .cluster_update(&form.caller(&request), &cluster, change)
        .await?;
    Ok(see_other(&format!("/clusters/{}?done=maintenance", cluster.name)))
}

fn parse(word: &str) -> Result<ClusterAction, Error> {
    ClusterAction::parse(word).ok_or_else(|| Error::not_found("page", word))
}

async fn perform(
    app: &App,
    request: &AuthedRequest,
    cluster: &api::Cluster,
    action: ClusterAction,
    form: &Form,
) -> Result<Response, Error> {
    if action.is_destructive() {
        confirm::typed(form, &cluster.name)?;
    }
    let caller = form.caller(request);
    let id = cluster.id.to_string();
    let node = form.text("node");
    let force = form.ticked("force");
    let orchestrator = &app.orchestrator;
    let operation = match action {
        ClusterAction::Start => orchestrator.cluster_start(&caller, &id, node.as_deref()).await,
        ClusterAction::Stop => orchestrator.cluster_stop(&caller, &id, node.as_deref()).await,
        ClusterAction::Restart => orchestrator.cluster_restart(&caller, &id, node.as_deref()).await,
        ClusterAction::Prove => orchestrator.cluster_prove(&caller, &id).await,
        ClusterAction::Reset => orchestrator.cluster_reset(&caller, &id, force).await,
        ClusterAction::Delete => orchestrator.cluster_delete(&caller, &id, force).await,
    }?;
    Ok(see_other(&format!("/operations/{}", operation.id)))
}

async fn ask(
    app: &App,
    request: &AuthedRequest,
    cluster: &api::Cluster,
    action: ClusterAction,
    form: Form,
) -> PageResult {
    let back = format!("/clusters/{}", cluster.name);
    let node = form.text("node").filter(|_| action.takes_node());
    let heading = match &node {
        Some(node) => format!("{} {node} of {}", action.label(), cluster.name),
        None => format!("{} {}", action.label(), cluster.name),
    };
    let force = match &cluster.holder {
        Some(holder) if action.is_destructive() => {
            format!("Leased by {holder}: revoke the lease and continue")
        }
        _ => String::new(),
    };
    let confirm = Confirm {
        heading: heading.clone(),
        verb: action.label().to_owned(),
        preview: action.preview(cluster, node.as_deref()),
        typed: if action.is_destructive() {
            cluster.name.clone()
        } else {
            String::new()
        },
        danger: action.is_destructive(),
        action: confirm::same_address(request),
        back: back.clone(),
        hidden: node.map(|node| ("node".to_owned(), node)).into_iter().collect(),
        force,
    };
    let frame = Frame::new(app, request, "clusters", heading)
        .await
        .crumb("Clusters", "/clusters")
        .crumb(&cluster.name, back)
        .crumb(action.label(), "");
    confirm::ask(frame, confirm, form)
}
