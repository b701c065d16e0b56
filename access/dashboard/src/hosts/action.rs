//! Host actions: preview, then run.

use crate::{
    action_preview::{ActionPreview, HostAction},
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
use chainpool_orchestrator::{Error, HostPreview};

/// Shows the preview of an action.
pub(crate) async fn preview(
    State(app): State<App>,
    request: AuthedRequest,
    Path((host, action)): Path<(String, String)>,
) -> PageResult {
    let action = parse(&action)?;
    let preview = app.orchestrator.host_preview(&request.caller, &host).await?;
    ask(&app, &request, preview, action, Form::default()).await
}

/// Runs the action.
pub(crate) async fn run(
    State(app): State<App>,
    request: AuthedRequest,
    Path((host, action)): Path<(String, String)>,
    form: Form,
) -> PageResult {
    let action = parse(&action)?;
    let preview = app.orchestrator.host_preview(&request.caller, &host).await?;
    match perform(&app, &request, &preview.host, action, &form).await {
        Ok(response) => Ok(response),
        Err(error) => {
            ask(
                &app,
                &request,
                preview,
                action,
                confirm::rejected(form, error, &request.info)?,
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
    request: &AuthedRequest,
    host: &api::Host,
    action: HostAction,
    form: &Form,
) -> Result<Response, Error> {
    if action.is_destructive() {
        confirm::typed(form, &host.name)?;
    }
    let caller = form.caller(request);
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

async fn ask(
    app: &App,
    request: &AuthedRequest,
    preview: HostPreview,
    action: HostAction,
    form: Form,
) -> PageResult {
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
        preview: action.preview(&host, &clusters),
        typed: if action.is_destructive() {
            host.name.clone()
        } else {
            String::new()
        },
        danger: action.is_destructive(),
        action: confirm::same_address(request),
        back: back.clone(),
        heading: heading.clone(),
        ..Confirm::default()
    };
    let frame = Frame::new(app, request, "hosts", heading)
        .await
        .crumb("Hosts", "/hosts")
        .crumb(&host.name, back)
        .crumb(action.label(), "");
    confirm::ask(frame, confirm, form)
}

/// Shows the unclaimed objects that would be adopted and removed.
pub(crate) async fn adopt_preview(
    State(app): State<App>,
    request: AuthedRequest,
    Path(host): Path<String>,
) -> PageResult {
    let preview = app.orchestrator.host_preview(&request.caller, &host).await?;
    let mut form = Form::default();
    if let Some(cluster) = request.query("cluster") {
        form.fill("cluster", cluster);
    }
    ask_adopt(&app, &request, preview, form).await
}

/// Adopts and removes them.
pub(crate) async fn adopt(
    State(app): State<App>,
    request: AuthedRequest,
    Path(host): Path<String>,
    form: Form,
) -> PageResult {
    let preview = app.orchestrator.host_preview(&request.caller, &host).await?;
    match perform_adopt(&app, &request, &preview.host, &form).await {
        Ok(response) => Ok(response),
        Err(error) => {
            ask_adopt(
                &app,
                &request,
                preview,
                confirm::rejected(form, error, &request.info)?,
            )
            .await
        }
    }
}

async fn perform_adopt(
    app: &App,
    request: &AuthedRequest,
    host: &api::Host,
    form: &Form,
) -> Result<Response, Error> {
    confirm::typed(form, &host.name)?;
    let parsed: Result<Vec<uuid::Uuid>, _> = form.all("cluster").map(str::parse).collect();
    let clusters = parsed.map_err(|_| Error::field("clusters", "is not a cluster ID"))?;
    let operation = app
        .orchestrator
        .host_adopt(
            &form.caller(request),
            &host.id.to_string(),
            api::HostAdopt { clusters },
        )
        .await?;
    Ok(see_other(&format!("/operations/{}", operation.id)))
}

async fn ask_adopt(app: &App, request: &AuthedRequest, preview: HostPreview, form: Form) -> PageResult {
    let HostPreview { host, unclaimed, .. } = preview;
    let selected: Vec<String> = form.all("cluster").map(str::to_owned).collect();
    let is_selected =
        |each: &&api::Unclaimed| selected.is_empty() || selected.contains(&each.cluster_id.to_string());
    let chosen: Vec<&api::Unclaimed> = unclaimed.iter().filter(is_selected).collect();
    let action_preview = ActionPreview {
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
        keeps: vec!["all known clusters, and everything that Chainpool did not create".into()],
        blocked: if chosen.is_empty() {
            "these unclaimed objects no longer exist".into()
        } else {
            String::new()
        },
        ..ActionPreview::default()
    };
    let back = format!("/hosts/{}", host.name);
    let confirm = Confirm {
        heading: format!("Adopt and delete unclaimed objects on {}", host.name),
        verb: "Adopt and delete".into(),
        preview: action_preview,
        typed: host.name.clone(),
        danger: true,
        action: confirm::same_address(request),
        back: back.clone(),
        hidden: chosen
            .iter()
            .map(|each| ("cluster".to_owned(), each.cluster_id.to_string()))
            .collect(),
        force: String::new(),
    };
    let frame = Frame::new(app, request, "hosts", "Adopt")
        .await
        .crumb("Hosts", "/hosts")
        .crumb(&host.name, back)
        .crumb("Adopt", "");
    confirm::ask(frame, confirm, form)
}
