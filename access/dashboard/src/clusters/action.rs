//! What is done with a cluster: its plan first, then the deed.

use crate::{
    confirm::{self, Confirm},
    error::Outcome,
    form::Form,
    page::{Frame, see_other},
    plan::ClusterAction,
    session::Visit,
    state::App,
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use chainpool_api as api;
use chainpool_orchestrator::Error;

/// Shows what an action will do.
pub(crate) async fn plan(
    State(app): State<App>,
    visit: Visit,
    Path((cluster, action)): Path<(String, String)>,
) -> Outcome {
    let action = parse(&action)?;
    let cluster = app.orchestrator.cluster_show(&visit.caller, &cluster).await?;
    let mut form = Form::default();
    if let Some(node) = visit.query("node") {
        form.fill("node", node);
    }
    ask(&app, &visit, &cluster, action, form).await
}

/// Does it.
pub(crate) async fn run(
    State(app): State<App>,
    visit: Visit,
    Path((cluster, action)): Path<(String, String)>,
    form: Form,
) -> Outcome {
    let action = parse(&action)?;
    let cluster = app.orchestrator.cluster_show(&visit.caller, &cluster).await?;
    match perform(&app, &visit, &cluster, action, &form).await {
        Ok(response) => Ok(response),
        Err(error) => {
            ask(
                &app,
                &visit,
                &cluster,
                action,
                confirm::refused(form, error, &visit.manner)?,
            )
            .await
        }
    }
}

/// Sets or ends maintenance.
pub(crate) async fn maintenance(
    State(app): State<App>,
    visit: Visit,
    Path(cluster): Path<String>,
    form: Form,
) -> Outcome {
    let mut reader = form.reader();
    let minutes = reader.number::<u32>("minutes").unwrap_or_default();
    let minutes = reader.finish(minutes)?;
    let change = api::ClusterUpdate {
        maintenance_seconds: Some(minutes.saturating_mul(60)),
    };
    let cluster = app
        .orchestrator
        .cluster_update(&form.caller(&visit), &cluster, change)
        .await?;
    Ok(see_other(&format!("/clusters/{}?done=maintenance", cluster.name)))
}

fn parse(word: &str) -> Result<ClusterAction, Error> {
    ClusterAction::parse(word).ok_or_else(|| Error::not_found("page", word))
}

async fn perform(
    app: &App,
    visit: &Visit,
    cluster: &api::Cluster,
    action: ClusterAction,
    form: &Form,
) -> Result<Response, Error> {
    if action.is_destructive() {
        confirm::typed(form, &cluster.name)?;
    }
    let caller = form.caller(visit);
    let id = cluster.id.to_string();
    let node = form.text("node");
    let force = form.ticked("force");
    let middle = &app.orchestrator;
    let operation = match action {
        ClusterAction::Start => middle.cluster_start(&caller, &id, node.as_deref()).await,
        ClusterAction::Stop => middle.cluster_stop(&caller, &id, node.as_deref()).await,
        ClusterAction::Restart => middle.cluster_restart(&caller, &id, node.as_deref()).await,
        ClusterAction::Prove => middle.cluster_prove(&caller, &id).await,
        ClusterAction::Reset => middle.cluster_reset(&caller, &id, force).await,
        ClusterAction::Delete => middle.cluster_delete(&caller, &id, force).await,
    }?;
    Ok(see_other(&format!("/operations/{}", operation.id)))
}

async fn ask(app: &App, visit: &Visit, cluster: &api::Cluster, action: ClusterAction, form: Form) -> Outcome {
    let back = format!("/clusters/{}", cluster.name);
    let node = form.text("node").filter(|_| action.takes_node());
    let heading = match &node {
        Some(node) => format!("{} {node} of {}", action.label(), cluster.name),
        None => format!("{} {}", action.label(), cluster.name),
    };
    let force = match &cluster.holder {
        Some(holder) if action.is_destructive() => format!("{holder} holds it: take it back all the same"),
        _ => String::new(),
    };
    let confirm = Confirm {
        heading: heading.clone(),
        verb: action.label().to_owned(),
        plan: action.plan(cluster, node.as_deref()),
        typed: if action.is_destructive() {
            cluster.name.clone()
        } else {
            String::new()
        },
        danger: action.is_destructive(),
        action: confirm::same_address(visit),
        back: back.clone(),
        hidden: node.map(|node| ("node".to_owned(), node)).into_iter().collect(),
        force,
    };
    let frame = Frame::new(app, visit, "clusters", heading)
        .await
        .crumb("Clusters", "/clusters")
        .crumb(&cluster.name, back)
        .crumb(action.label(), "");
    confirm::ask(frame, confirm, form)
}
