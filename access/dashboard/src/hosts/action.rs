//! What is done with a host: its plan first, then the deed.

use crate::{
    confirm::{self, Confirm},
    error::Outcome,
    form::Form,
    page::{Frame, see_other},
    plan::{HostAction, Plan},
    session::Visit,
    state::App,
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use chainpool_api as api;
use chainpool_orchestrator::{Error, HostPreview};

/// Shows what an action will do.
pub(crate) async fn plan(
    State(app): State<App>,
    visit: Visit,
    Path((host, action)): Path<(String, String)>,
) -> Outcome {
    let action = parse(&action)?;
    let preview = app.orchestrator.host_preview(&visit.caller, &host).await?;
    ask(&app, &visit, preview, action, Form::default()).await
}

/// Does it.
pub(crate) async fn run(
    State(app): State<App>,
    visit: Visit,
    Path((host, action)): Path<(String, String)>,
    form: Form,
) -> Outcome {
    let action = parse(&action)?;
    let preview = app.orchestrator.host_preview(&visit.caller, &host).await?;
    match perform(&app, &visit, &preview.host, action, &form).await {
        Ok(response) => Ok(response),
        Err(error) => {
            ask(
                &app,
                &visit,
                preview,
                action,
                confirm::refused(form, error, &visit.manner)?,
            )
            .await
        }
    }
}

fn parse(word: &str) -> Result<HostAction, Error> {
    HostAction::parse(word).ok_or_else(|| Error::not_found("page", word))
}

async fn perform(
    app: &App,
    visit: &Visit,
    host: &api::Host,
    action: HostAction,
    form: &Form,
) -> Result<Response, Error> {
    if action.is_destructive() {
        confirm::typed(form, &host.name)?;
    }
    let caller = form.caller(visit);
    let id = host.id.to_string();
    let operation = match action {
        HostAction::Fillup => app.orchestrator.host_fillup(&caller, &id).await?,
        HostAction::Clean => app.orchestrator.host_clean(&caller, &id).await?,
        HostAction::Reset => app.orchestrator.host_reset(&caller, &id).await?,
        HostAction::Delete => {
            app.orchestrator.host_delete(&caller, &id, None).await?;
            return Ok(see_other("/hosts?done=host_deleted"));
        }
        HostAction::Forget => {
            app.orchestrator
                .host_delete(&caller, &id, Some(&host.name))
                .await?;
            return Ok(see_other("/hosts?done=host_forgotten"));
        }
    };
    Ok(see_other(&format!("/operations/{}", operation.id)))
}

async fn ask(app: &App, visit: &Visit, preview: HostPreview, action: HostAction, form: Form) -> Outcome {
    let HostPreview { host, clusters, .. } = preview;
    let back = format!("/hosts/{}", host.name);
    let heading = match action {
        HostAction::Fillup => format!("Fill up {}", host.name),
        HostAction::Clean => format!("Clean {}", host.name),
        HostAction::Reset => format!("Reset {}", host.name),
        HostAction::Delete => format!("Delete host {}", host.name),
        HostAction::Forget => format!("Forget host {}", host.name),
    };
    let confirm = Confirm {
        verb: action.label().to_owned(),
        plan: action.plan(&host, &clusters),
        typed: if action.is_destructive() {
            host.name.clone()
        } else {
            String::new()
        },
        danger: action.is_destructive(),
        action: confirm::same_address(visit),
        back: back.clone(),
        heading: heading.clone(),
        ..Confirm::default()
    };
    let frame = Frame::new(app, visit, "hosts", heading)
        .await
        .crumb("Hosts", "/hosts")
        .crumb(&host.name, back)
        .crumb(action.label(), "");
    confirm::ask(frame, confirm, form)
}

/// Shows which unclaimed objects would be taken over and removed.
pub(crate) async fn adopt_plan(State(app): State<App>, visit: Visit, Path(host): Path<String>) -> Outcome {
    let preview = app.orchestrator.host_preview(&visit.caller, &host).await?;
    let mut form = Form::default();
    if let Some(cluster) = visit.query("cluster") {
        form.fill("cluster", cluster);
    }
    ask_adopt(&app, &visit, preview, form).await
}

/// Takes them over.
pub(crate) async fn adopt(
    State(app): State<App>,
    visit: Visit,
    Path(host): Path<String>,
    form: Form,
) -> Outcome {
    let preview = app.orchestrator.host_preview(&visit.caller, &host).await?;
    match perform_adopt(&app, &visit, &preview.host, &form).await {
        Ok(response) => Ok(response),
        Err(error) => {
            ask_adopt(
                &app,
                &visit,
                preview,
                confirm::refused(form, error, &visit.manner)?,
            )
            .await
        }
    }
}

async fn perform_adopt(app: &App, visit: &Visit, host: &api::Host, form: &Form) -> Result<Response, Error> {
    confirm::typed(form, &host.name)?;
    let parsed: Result<Vec<uuid::Uuid>, _> = form.all("cluster").map(str::parse).collect();
    let clusters = parsed.map_err(|_| Error::field("clusters", "is not a cluster's id"))?;
    let operation = app
        .orchestrator
        .host_adopt(
            &form.caller(visit),
            &host.id.to_string(),
            api::HostAdopt { clusters },
        )
        .await?;
    Ok(see_other(&format!("/operations/{}", operation.id)))
}

async fn ask_adopt(app: &App, visit: &Visit, preview: HostPreview, form: Form) -> Outcome {
    let HostPreview { host, unclaimed, .. } = preview;
    let wanted: Vec<String> = form.all("cluster").map(str::to_owned).collect();
    let is_wanted =
        |each: &&api::Unclaimed| wanted.is_empty() || wanted.contains(&each.cluster_id.to_string());
    let chosen: Vec<&api::Unclaimed> = unclaimed.iter().filter(is_wanted).collect();
    let plan = Plan {
        deletes: chosen
            .iter()
            .map(|each| {
                format!(
                    "generation {} of {}: {}",
                    each.generation,
                    each.cluster_id,
                    each.objects.join(", ")
                )
            })
            .collect(),
        keeps: vec!["all known clusters, and everything that Chainpool did not make".into()],
        blocked: if chosen.is_empty() {
            "there are no such unclaimed objects any more".into()
        } else {
            String::new()
        },
        ..Plan::default()
    };
    let back = format!("/hosts/{}", host.name);
    let confirm = Confirm {
        heading: format!("Adopt and remove unclaimed objects on {}", host.name),
        verb: "Adopt and remove".into(),
        plan,
        typed: host.name.clone(),
        danger: true,
        action: confirm::same_address(visit),
        back: back.clone(),
        hidden: chosen
            .iter()
            .map(|each| ("cluster".to_owned(), each.cluster_id.to_string()))
            .collect(),
        force: String::new(),
    };
    let frame = Frame::new(app, visit, "hosts", "Adopt")
        .await
        .crumb("Hosts", "/hosts")
        .crumb(&host.name, back)
        .crumb("Adopt", "");
    confirm::ask(frame, confirm, form)
}
