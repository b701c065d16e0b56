//! The frame around every page: navigation, worst state, account.

use crate::{
    error::Rejection,
    request::{AuthedRequest, RequestInfo},
    state::App,
    status_badge::{self, Indicator, StatusBadge},
};
use askama::Template;
use axum::{
    extract::Request,
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use chainpool_api::{ClusterFilter, Counts, Status};
use chainpool_orchestrator::{Caller, Result, StatusBrief};
use http::{HeaderValue, header};

/// The frame around a page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The page title, for the tab.
    pub(crate) title: String,
    /// The current navigation entry: its address without the slash.
    pub(crate) section: &'static str,
    /// Breadcrumbs: names and addresses.
    pub(crate) crumbs: Vec<(String, String)>,
    /// The caller; `None` on the sign-in pages.
    pub(crate) caller: Option<Caller>,
    /// The worst current state.
    pub(crate) worst: StatusBadge,
    /// `light`, `dark` or `auto`.
    pub(crate) theme: &'static str,
    /// Path and query of this page.
    pub(crate) path: String,
    /// The nouns whose changes update this page; empty for a static page.
    pub(crate) live: &'static str,
    /// True if only the content was requested, without the frame.
    pub(crate) fragment: bool,
    /// The result of the last form.
    pub(crate) message: &'static str,
}

impl Frame {
    /// The frame of a signed-in page.
    pub(crate) async fn new(
        app: &App,
        request: &AuthedRequest,
        section: &'static str,
        title: impl Into<String>,
    ) -> Self {
        let worst = worst(app, request).await.unwrap_or_else(|_| StatusBadge {
            indicator: Indicator::Unknown,
            label: "state unknown".into(),
        });
        Self::with(request, section, title, worst)
    }

    /// The frame of a signed-in page that has already read the status.
    pub(crate) fn of_status(
        request: &AuthedRequest,
        section: &'static str,
        title: impl Into<String>,
        status: &Status,
    ) -> Self {
        Self::with(request, section, title, worst_of(status))
    }

    /// The frame of a signed-in page with this worst state.
    pub(crate) fn with(
        request: &AuthedRequest,
        section: &'static str,
        title: impl Into<String>,
        worst: StatusBadge,
    ) -> Self {
        Self {
            caller: Some(request.caller.clone()),
            worst,
            section,
            ..Self::guest(&request.info, title)
        }
    }

    /// The frame of a page without sign-in.
    pub(crate) fn guest(info: &RequestInfo, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            section: "",
            crumbs: Vec::new(),
            caller: None,
            worst: StatusBadge {
                indicator: Indicator::Stopped,
                label: String::new(),
            },
            theme: info.theme,
            path: info.path.clone(),
            live: "",
            fragment: info.fragment,
            message: info.query("done").map_or("", |word| message(&word)),
        }
    }

    /// Adds a breadcrumb.
    pub(crate) fn crumb(mut self, name: impl Into<String>, address: impl Into<String>) -> Self {
        self.crumbs.push((name.into(), address.into()));
        self
    }

    /// Sets the nouns whose changes update this page.
    pub(crate) fn live(mut self, nouns: &'static str) -> Self {
        self.live = nouns;
        self
    }

    /// The tab title, with the worst state first.
    pub(crate) fn tab(&self) -> String {
        if self.worst.label.is_empty() {
            return format!("{} · Chainpool", self.title);
        }
        format!(
            "{} {} · {} · Chainpool",
            self.worst.indicator.glyph(),
            self.worst.label,
            self.title
        )
    }

    /// True if the caller may manage hosts and all clusters.
    pub(crate) fn operates(&self) -> bool {
        self.caller.as_ref().is_some_and(Caller::operates)
    }

    /// True if the caller may manage accounts.
    pub(crate) fn administers(&self) -> bool {
        self.caller.as_ref().is_some_and(Caller::administers)
    }
}

async fn worst(app: &App, request: &AuthedRequest) -> Result<StatusBadge> {
    if request.caller.operates() {
        return Ok(worst_of_brief(
            &app.orchestrator.status_brief(&request.caller).await?,
        ));
    }
    let mut counts = Counts::default();
    for cluster in app
        .orchestrator
        .cluster_list(&request.caller, &ClusterFilter::default())
        .await?
        .items
    {
        match status_badge::cluster(&cluster).indicator {
            Indicator::Healthy => counts.healthy += 1,
            Indicator::Degraded => counts.degraded += 1,
            Indicator::Broken => counts.broken += 1,
            Indicator::Stopped => counts.stopped += 1,
            Indicator::Unknown => counts.unknown += 1,
            Indicator::Working => counts.making += 1,
        }
    }
    Ok(status_badge::pool(&counts))
}

/// The worst state of hosts, clusters and problems.
pub(crate) fn worst_of(status: &Status) -> StatusBadge {
    let unreachable = status
        .hosts
        .iter()
        .filter(|host| host.state == chainpool_api::HostState::Unreachable);
    worst_of_brief(&StatusBrief {
        pool: status.pool,
        unreachable_hosts: unreachable.count(),
        problems: status.problems.len(),
    })
}

fn worst_of_brief(status: &StatusBrief) -> StatusBadge {
    let unreachable = status.unreachable_hosts;
    let pool = status_badge::pool(&status.pool);
    if status.pool.broken == 0 && unreachable > 0 {
        return StatusBadge {
            indicator: Indicator::Broken,
            label: format!(
                "{unreachable} {} unreachable",
                if unreachable == 1 { "host" } else { "hosts" }
            ),
        };
    }
    if pool.indicator != Indicator::Broken && status.problems > 0 {
        let label = match status.problems {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        return StatusBadge {
            indicator: Indicator::Degraded,
            label,
        };
    }
    pool
}

/// The message for the `done` parameter that a form redirects with.
fn message(done: &str) -> &'static str {
    match done {
        "host_created" => "Host added.",
        "host_updated" => "Host settings saved.",
        "host_deleted" => "Host deleted.",
        "host_forgotten" => "Host forgotten. Its leases have ended.",
        "maintenance" => "Maintenance updated.",
        "resumed" => "Resumed.",
        "applied" => "Cluster leased. The bundle below has everything needed to connect.",
        "applied_again" => "You already hold this lease, which matches the filters.",
        "renewed" => "Lease renewed.",
        "released" => "Lease released. The cluster is reset with new keys.",
        "account_deleted" => "Account deleted.",
        "token_deleted" => "Token deleted.",
        "signed_out" => "Signed out.",
        _ => "",
    }
}

/// A page as a response.
pub(crate) fn html<T: Template>(template: &T) -> Result<Response, Rejection> {
    Ok(Html(template.render()?).into_response())
}

/// Security headers: no foreign content, no inline code, no framing, no caching.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy =
        "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
