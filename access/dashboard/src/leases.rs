//! Leases: what is held, by whom and until when; the bundle by which its holder connects.

use crate::{
    confirm::{self, Confirm},
    error::Outcome,
    form::{Form, filter_word},
    listing::Listing,
    page::{self, Frame, see_other},
    plan::Plan,
    session::Visit,
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
    /// Whether the further filters are in use.
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

    /// Whether the caller may apply for somebody else.
    fn may_name_holder(&self) -> bool {
        self.frame.caller.as_ref().is_some_and(|caller| caller.lease_any)
    }
}

/// The list, and the form by which one applies.
pub(crate) async fn list(State(app): State<App>, visit: Visit) -> Outcome {
    let mut form = Form::default();
    if let Some(network_type) = visit.query("apply") {
        form.fill("type", network_type);
    }
    draw(&app, &visit, form).await
}

async fn draw(app: &App, visit: &Visit, form: Form) -> Outcome {
    let listing = Listing::new(visit, "/leases", &["state", "holder", "cluster"]);
    let filter = api::LeaseFilter {
        state: filter_word(visit, "state")?,
        holder: visit.query("holder"),
        cluster: visit.query("cluster"),
        after: visit.query("after"),
        limit: None,
    };
    let found = app.orchestrator.lease_list(&visit.caller, &filter).await?;
    let mut leases = found.items;
    listing.sort(&mut leases, |lease, column| match column {
        "state" => Some((0, lease.state.to_string())),
        "cluster" => Some((0, lease.cluster.clone())),
        "holder" => Some((0, lease.holder.clone())),
        "since" => Some((lease.created_at.0, String::new())),
        "until" => Some((lease.expires_at.map_or(i64::MAX, |at| at.0), String::new())),
        _ => None,
    });
    let status = app.orchestrator.overview(&visit.caller).await?;
    let mut frame = Frame::new(app, visit, "leases", "Leases")
        .await
        .crumb("Leases", "/leases");
    if form.problem.is_none() {
        frame = frame.live("lease cluster operation");
    }
    let code = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |refused| refused.status);
    let page = LeasesPage {
        frame,
        listing: listing.going_on(found.next),
        leases,
        form,
        pool: status.pool,
        by_type: status.by_type.into_iter().collect(),
        types: app.orchestrator.network_types(&visit.caller),
    };
    Ok((code, page::html(&page)?).into_response())
}

/// Applies.
pub(crate) async fn apply(State(app): State<App>, visit: Visit, form: Form) -> Outcome {
    let applied = match read_apply(&form) {
        Ok(wanted) => app.orchestrator.lease_apply(&form.caller(&visit), wanted).await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(applied) => {
            let word = if applied.made { "applied" } else { "applied_again" };
            Ok(see_other(&format!("/leases/{}?done={word}", applied.lease.id)))
        }
        Err(error) => draw(&app, &visit, form.refused(error, &visit.manner)?).await,
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
pub(crate) async fn show(State(app): State<App>, visit: Visit, Path(lease): Path<Uuid>) -> Outcome {
    draw_one(&app, &visit, lease, Form::default()).await
}

async fn draw_one(app: &App, visit: &Visit, lease: Uuid, form: Form) -> Outcome {
    let lease = app.orchestrator.lease_show(&visit.caller, lease).await?;
    let active = lease.state == api::LeaseState::Active;
    let (mut bundle, mut why_no_bundle, mut cluster) = (None, String::new(), None);
    if active {
        match app
            .orchestrator
            .lease_bundle_outline(&visit.caller, lease.id)
            .await
        {
            Ok(found) => bundle = Some(found),
            Err(error @ Error::Internal(_)) => return Err(error.into()),
            Err(error) => why_no_bundle = error.problem().message,
        }
        cluster = app
            .orchestrator
            .cluster_show(&visit.caller, &lease.cluster_id.to_string())
            .await
            .ok();
    }
    let title = format!("Lease of {}", lease.cluster);
    let mut frame = Frame::new(app, visit, "leases", title)
        .await
        .crumb("Leases", "/leases")
        .crumb(&lease.cluster, "");
    if form.problem.is_none() {
        frame = frame.live("lease cluster");
    }
    let code = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |refused| refused.status);
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

/// The names of the files that lie in no folder: the others are had all at once.
fn top_files(bundle: &api::Bundle) -> Vec<&String> {
    bundle.files.keys().filter(|name| !name.contains('/')).collect()
}

/// A bundle as one document.
pub(crate) async fn bundle_json(State(app): State<App>, visit: Visit, Path(lease): Path<Uuid>) -> Outcome {
    let bundle = app.orchestrator.lease_bundle(&visit.caller, lease).await?;
    let json = serde_json::to_string_pretty(&bundle).map_err(|error| Error::Internal(Box::new(error)))?;
    Ok(download(
        &format!("{}-bundle.json", bundle.cluster),
        "application/json",
        json,
    ))
}

/// All files of a bundle in one folder, to be unpacked and used; its keys are readable by their owner alone.
pub(crate) async fn bundle_tar(State(app): State<App>, visit: Visit, Path(lease): Path<Uuid>) -> Outcome {
    let bundle = app.orchestrator.lease_bundle(&visit.caller, lease).await?;
    let packed = packed(&bundle).map_err(|error| Error::Internal(Box::new(error)))?;
    Ok(download(
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
    visit: Visit,
    Path((lease, file)): Path<(Uuid, String)>,
) -> Outcome {
    let mut bundle = app.orchestrator.lease_bundle(&visit.caller, lease).await?;
    let content = bundle
        .files
        .remove(&file)
        .ok_or_else(|| Error::not_found("file", &file))?;
    Ok(download(&file, "text/plain; charset=utf-8", content))
}

/// Something as a file to be kept.
pub(crate) fn download(name: &str, kind: &'static str, content: impl IntoResponse) -> Response {
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
    visit: Visit,
    Path(lease): Path<Uuid>,
    form: Form,
) -> Outcome {
    let mut reader = form.reader();
    let ttl_seconds = reader.number("ttl_seconds");
    let renewed = match reader.finish(api::Renew { ttl_seconds }) {
        Ok(renew) => {
            app.orchestrator
                .lease_renew(&form.caller(&visit), lease, renew)
                .await
        }
        Err(error) => Err(error),
    };
    match renewed {
        Ok(lease) => Ok(see_other(&format!("/leases/{}?done=renewed", lease.id))),
        Err(error) => draw_one(&app, &visit, lease, form.refused(error, &visit.manner)?).await,
    }
}

/// Asks before a release.
pub(crate) async fn release_plan(State(app): State<App>, visit: Visit, Path(lease): Path<Uuid>) -> Outcome {
    ask_release(&app, &visit, lease, Form::default()).await
}

/// Releases a lease.
pub(crate) async fn release(
    State(app): State<App>,
    visit: Visit,
    Path(lease): Path<Uuid>,
    form: Form,
) -> Outcome {
    let held = app.orchestrator.lease_show(&visit.caller, lease).await?;
    let released = match confirm::typed(&form, &held.cluster) {
        Ok(()) => app.orchestrator.lease_release(&form.caller(&visit), lease).await,
        Err(error) => Err(error),
    };
    match released {
        Ok(lease) => Ok(see_other(&format!("/leases/{}?done=released", lease.id))),
        Err(error) => ask_release(&app, &visit, lease, confirm::refused(form, error, &visit.manner)?).await,
    }
}

async fn ask_release(app: &App, visit: &Visit, lease: Uuid, form: Form) -> Outcome {
    let lease = app.orchestrator.lease_show(&visit.caller, lease).await?;
    let back = format!("/leases/{}", lease.id);
    let blocked = if lease.state == api::LeaseState::Active {
        String::new()
    } else {
        format!("the lease has ended already: {}", lease.state)
    };
    let confirm = Confirm {
        heading: format!("Release {}", lease.cluster),
        verb: "Release".into(),
        plan: Plan {
            deletes: vec![
                format!("the lease of {}", lease.holder),
                format!(
                    "the ledger of {} with all that was written to it, and its keys",
                    lease.cluster
                ),
            ],
            makes: vec!["a fresh cluster in its place, for whoever applies next".into()],
            keeps: vec!["the record of this lease".into()],
            blocked,
            ..Plan::default()
        },
        typed: lease.cluster.clone(),
        danger: true,
        action: confirm::same_address(visit),
        back: back.clone(),
        ..Confirm::default()
    };
    let title = format!("Release {}", lease.cluster);
    let frame = Frame::new(app, visit, "leases", title)
        .await
        .crumb("Leases", "/leases")
        .crumb(&lease.cluster, back)
        .crumb("Release", "");
    confirm::ask(frame, confirm, form)
}
