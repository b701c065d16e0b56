//! Leases: the list with the lease form, and one lease with its connection bundle.

use crate::{
    action_preview::ActionPreview,
    confirm::{self, Confirm},
    error::PageResult,
    form::{Form, filter_word},
    listing::Listing,
    page::{self, Frame},
    redirect::see_other,
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chainpool_api as api;
use chainpool_orchestrator::Error;
use http::{StatusCode, header};
use uuid::Uuid;

#[derive(Template)]
#[template(path = "leases/list.html")]
struct LeasesPage {
    frame: Frame,
    listing: Listing,
    leases: Vec<api::Lease>,
    form: Form,
    pool: api::Counts,
    by_type: Vec<(String, api::Counts)>,
    types: Vec<api::NetworkType>,
}

impl LeasesPage {
    /// True if any of the additional filters is in use.
    fn filters_open(&self) -> bool {
        [
            "preset",
            "size",
            "version",
            "consensus",
            "host",
            "labels",
            "holder",
            "allow_multiple",
        ]
        .iter()
        .any(|name| self.form.ticked(name))
    }

    /// True if the caller may lease for another holder.
    fn may_name_holder(&self) -> bool {
        self.frame.caller.as_ref().is_some_and(|caller| caller.lease_any)
    }
}

/// The list and the lease form.
pub(crate) async fn list(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let mut form = Form::default();
    if let Some(network_type) = request.query("apply") {
        form.fill("type", network_type);
    }
    render(&app, &request, form).await
}

async fn render(app: &App, request: &AuthedRequest, form: Form) -> PageResult {
    let listing = Listing::new(request, "/leases", &["state", "holder", "cluster"]);
    let filter = api::LeaseFilter {
        state: filter_word(request, "state")?,
        holder: request.query("holder"),
        cluster: request.query("cluster"),
        after: request.query("after"),
        limit: None,
    };
    let found = app.orchestrator.lease_list(&request.caller, &filter).await?;
    let mut leases = found.items;
    listing.sort(&mut leases, |lease, column| match column {
        "state" => Some((0, lease.state.to_string())),
        "cluster" => Some((0, lease.cluster.clone())),
        "holder" => Some((0, lease.holder.clone())),
        "since" => Some((lease.created_at.0, String::new())),
        "until" => Some((lease.expires_at.map_or(i64::MAX, |at| at.0), String::new())),
        _ => None,
    });
    let status = app.orchestrator.overview(&request.caller).await?;
    let mut frame = Frame::new(app, request, "leases", "Leases")
        .await
        .crumb("Leases", "/leases");
    if form.problem.is_none() {
        frame = frame.live("lease cluster operation");
    }
    let code = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let page = LeasesPage {
        frame,
        listing: listing.with_next(found.next),
        leases,
        form,
        pool: status.pool,
        by_type: status.by_type.into_iter().collect(),
        types: app.orchestrator.network_types(&request.caller),
    };
    Ok((code, page::html(&page)?).into_response())
}

/// Leases a cluster.
pub(crate) async fn apply(State(app): State<App>, request: AuthedRequest, form: Form) -> PageResult {
    let applied = match read_apply(&form) {
        Ok(wanted) => app.orchestrator.lease_apply(&form.caller(&request), wanted).await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(applied) => {
            let word = if applied.created {
                "applied"
            } else {
                "applied_again"
            };
            Ok(see_other(&format!("/leases/{}?done={word}", applied.lease.id)))
        }
        Err(error) => render(&app, &request, form.rejected(error, &request.info)?).await,
    }
}

fn read_apply(form: &Form) -> Result<api::Apply, Error> {
    let mut reader = form.reader();
    let apply = api::Apply {
        holder: form.text("holder"),
        network_type: form.text("type"),
        preset: form.text("preset"),
        version: form.text("version"),
        size: reader.number("size"),
        consensus: form.text("consensus"),
        host: form.text("host"),
        labels: reader.labels("labels"),
        parameters: serde_json::Map::new(),
        ttl_seconds: reader.number("ttl_seconds"),
        allow_multiple: form.ticked("allow_multiple"),
    };
    reader.finish(apply)
}

#[derive(Template)]
#[template(path = "leases/show.html")]
struct LeasePage {
    frame: Frame,
    lease: api::Lease,
    cluster: Option<api::Cluster>,
    bundle: Option<api::Bundle>,
    why_no_bundle: String,
    form: Form,
}

/// One lease with its bundle.
pub(crate) async fn show(
    State(app): State<App>,
    request: AuthedRequest,
    Path(lease): Path<Uuid>,
) -> PageResult {
    render_one(&app, &request, lease, Form::default()).await
}

async fn render_one(app: &App, request: &AuthedRequest, lease: Uuid, form: Form) -> PageResult {
    let lease = app.orchestrator.lease_show(&request.caller, lease).await?;
    let active = lease.state == api::LeaseState::Active;
    let (mut bundle, mut why_no_bundle, mut cluster) = (None, String::new(), None);
    if active {
        match app
            .orchestrator
            .lease_bundle_outline(&request.caller, lease.id)
            .await
        {
            Ok(found) => bundle = Some(found),
            Err(error @ Error::Internal(_)) => return Err(error.into()),
            Err(error) => why_no_bundle = error.problem().message,
        }
        cluster = app
            .orchestrator
            .cluster_show(&request.caller, &lease.cluster_id.to_string())
            .await
            .ok();
    }
    let title = format!("Lease of {}", lease.cluster);
    let mut frame = Frame::new(app, request, "leases", title)
        .await
        .crumb("Leases", "/leases")
        .crumb(&lease.cluster, "");
    if form.problem.is_none() {
        frame = frame.live("lease cluster");
    }
    let code = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    Ok((
        code,
        page::html(&LeasePage {
            frame,
            lease,
            cluster,
            bundle,
            why_no_bundle,
            form,
        })?,
    )
        .into_response())
}

/// The names of the files outside folders. Files in folders are only in the archive.
fn top_files(bundle: &api::Bundle) -> Vec<&String> {
    bundle.files.keys().filter(|name| !name.contains('/')).collect()
}

/// The bundle as JSON.
pub(crate) async fn bundle_json(
    State(app): State<App>,
    request: AuthedRequest,
    Path(lease): Path<Uuid>,
) -> PageResult {
    let bundle = app.orchestrator.lease_bundle(&request.caller, lease).await?;
    let json = serde_json::to_string_pretty(&bundle).map_err(|error| Error::Internal(Box::new(error)))?;
    Ok(attachment(
        &format!("{}-bundle.json", bundle.cluster),
        "application/json",
        json,
    ))
}

/// The bundle as a tar archive with one folder. Only the owner can read its files.
pub(crate) async fn bundle_tar(
    State(app): State<App>,
    request: AuthedRequest,
    Path(lease): Path<Uuid>,
) -> PageResult {
    let bundle = app.orchestrator.lease_bundle(&request.caller, lease).await?;
    let packed = packed(&bundle).map_err(|error| Error::Internal(Box::new(error)))?;
    Ok(attachment(
        &format!("{}-bundle.tar", bundle.cluster),
        "application/x-tar",
        packed,
    ))
}

fn packed(bundle: &api::Bundle) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let json = serde_json::to_string_pretty(bundle)?;
    for (name, text) in bundle.files.iter().chain([(&"bundle.json".to_owned(), &json)]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).map_err(std::io::Error::other)?);
        header.set_mode(0o600);
        tar.append_data(&mut header, format!("{}/{name}", bundle.cluster), text.as_bytes())?;
    }
    tar.into_inner()
}

/// One file of a bundle.
pub(crate) async fn file(
    State(app): State<App>,
    request: AuthedRequest,
    Path((lease, file)): Path<(Uuid, String)>,
) -> PageResult {
    let mut bundle = app.orchestrator.lease_bundle(&request.caller, lease).await?;
    let content = bundle
        .files
        .remove(&file)
        .ok_or_else(|| Error::not_found("file", &file))?;
    Ok(attachment(&file, "text/plain; charset=utf-8", content))
}

/// A response that browsers save as a file.
pub(crate) fn attachment(name: &str, kind: &'static str, content: impl IntoResponse) -> Response {
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-._".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let disposition = format!("attachment; filename=\"{safe}\"");
    (
        [
            (header::CONTENT_TYPE, kind.to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ],
        content,
    )
        .into_response()
}

/// Renews a lease.
pub(crate) async fn renew(
    State(app): State<App>,
    request: AuthedRequest,
    Path(lease): Path<Uuid>,
    form: Form,
) -> PageResult {
    let mut reader = form.reader();
    let ttl_seconds = reader.number("ttl_seconds");
    let renewed = match reader.finish(api::Renew { ttl_seconds }) {
        Ok(renew) => {
            app.orchestrator
                .lease_renew(&form.caller(&request), lease, renew)
                .await
        }
        Err(error) => Err(error),
    };
    match renewed {
        Ok(lease) => Ok(see_other(&format!("/leases/{}?done=renewed", lease.id))),
        Err(error) => render_one(&app, &request, lease, form.rejected(error, &request.info)?).await,
    }
}

/// Asks for confirmation before a release.
pub(crate) async fn release_preview(
    State(app): State<App>,
    request: AuthedRequest,
    Path(lease): Path<Uuid>,
) -> PageResult {
    ask_release(&app, &request, lease, Form::default()).await
}

/// Releases a lease.
pub(crate) async fn release(
    State(app): State<App>,
    request: AuthedRequest,
    Path(lease): Path<Uuid>,
    form: Form,
) -> PageResult {
    let current = app.orchestrator.lease_show(&request.caller, lease).await?;
    let released = match confirm::typed(&form, &current.cluster) {
        Ok(()) => {
            app.orchestrator
                .lease_release(&form.caller(&request), lease)
                .await
        }
        Err(error) => Err(error),
    };
    match released {
        Ok(lease) => Ok(see_other(&format!("/leases/{}?done=released", lease.id))),
        Err(error) => {
            ask_release(
                &app,
                &request,
                lease,
                confirm::rejected(form, error, &request.info)?,
            )
            .await
        }
    }
}

async fn ask_release(app: &App, request: &AuthedRequest, lease: Uuid, form: Form) -> PageResult {
    let lease = app.orchestrator.lease_show(&request.caller, lease).await?;
    let back = format!("/leases/{}", lease.id);
    let blocked = if lease.state == api::LeaseState::Active {
        String::new()
    } else {
        format!("the lease is already {}", lease.state)
    };
    let confirm = Confirm {
        heading: format!("Release {}", lease.cluster),
        verb: "Release".into(),
        preview: ActionPreview {
            deletes: vec![
                format!("the lease of {}", lease.holder),
                format!("the ledger of {} with all its data and keys", lease.cluster),
            ],
            creates: vec!["a new cluster in its place, free for the next lease".into()],
            keeps: vec!["the record of this lease".into()],
            blocked,
            ..ActionPreview::default()
        },
        typed: lease.cluster.clone(),
        danger: true,
        action: confirm::same_address(request),
        back: back.clone(),
        ..Confirm::default()
    };
    let title = format!("Release {}", lease.cluster);
    let frame = Frame::new(app, request, "leases", title)
        .await
        .crumb("Leases", "/leases")
        .crumb(&lease.cluster, back)
        .crumb("Release", "");
    confirm::ask(frame, confirm, form)
}
