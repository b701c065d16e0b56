//! The frame around every page: where you are, what is worst, who you are.

use crate::{
    error::Refused,
    marks::{self, Mark, Marked},
    session::{self, Manner, Visit},
    state::App,
};
use askama::Template;
use axum::{
    extract::Request,
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use chainpool_api::{ClusterFilter, Counts, Status};
use chainpool_orchestrator::{Caller, Result};
use http::{HeaderValue, header};

/// The frame around a page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The page's own name, for the tab.
    pub(crate) title: String,
    /// Which entry of the rail is the present one: its address without the slash.
    pub(crate) section: &'static str,
    /// The way here: names and addresses.
    pub(crate) crumbs: Vec<(String, String)>,
    /// Who asks; nobody on the pages by which one gets in.
    pub(crate) caller: Option<Caller>,
    /// The worst state there is.
    pub(crate) worst: Marked,
    /// `light`, `dark` or `auto`.
    pub(crate) theme: &'static str,
    /// Path and query of this page.
    pub(crate) path: String,
    /// The nouns whose changes this page shows; empty: it does not change by itself.
    pub(crate) live: &'static str,
    /// Only the changing part was asked for.
    pub(crate) fragment: bool,
    /// What was just done.
    pub(crate) message: &'static str,
}

impl Frame {
    /// The frame of a signed-in page.
    pub(crate) async fn new(
        app: &App,
        visit: &Visit,
        section: &'static str,
        title: impl Into<String>,
    ) -> Self {
        let worst = worst(app, visit).await.unwrap_or_else(|_| Marked {
            mark: Mark::Unknown,
            word: "state unknown".into(),
        });
        Self::with(visit, section, title, worst)
    }

    /// The frame of a signed-in page that has read the state already.
    pub(crate) fn of_status(
        visit: &Visit,
        section: &'static str,
        title: impl Into<String>,
        status: &Status,
    ) -> Self {
        Self::with(visit, section, title, worst_of(status))
    }

    /// The frame of a signed-in page with this as the worst state.
    pub(crate) fn with(
        visit: &Visit,
        section: &'static str,
        title: impl Into<String>,
        worst: Marked,
    ) -> Self {
        Self {
            caller: Some(visit.caller.clone()),
            worst,
            section,
            ..Self::guest(&visit.manner, title)
        }
    }

    /// The frame of a page for somebody who is not signed in.
    pub(crate) fn guest(manner: &Manner, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            section: "",
            crumbs: Vec::new(),
            caller: None,
            worst: Marked {
                mark: Mark::Stopped,
                word: String::new(),
            },
            theme: manner.theme,
            path: manner.path.clone(),
            live: "",
            fragment: manner.fragment,
            message: manner.query("done").map_or("", |word| message(&word)),
        }
    }

    /// Adds a place on the way here.
    pub(crate) fn crumb(mut self, name: impl Into<String>, address: impl Into<String>) -> Self {
        self.crumbs.push((name.into(), address.into()));
        self
    }

    /// Names the nouns whose changes this page shows.
    pub(crate) fn live(mut self, nouns: &'static str) -> Self {
        self.live = nouns;
        self
    }

    /// The tab's title: the worst state first.
    pub(crate) fn tab(&self) -> String {
        if self.worst.word.is_empty() {
            return format!("{} · Chainpool", self.title);
        }
        format!(
            "{} {} · {} · Chainpool",
            self.worst.mark.glyph(),
            self.worst.word,
            self.title
        )
    }

    /// Whether the caller works with hosts and all clusters.
    pub(crate) fn operates(&self) -> bool {
        self.caller.as_ref().is_some_and(Caller::operates)
    }

    /// Whether the caller works with accounts.
    pub(crate) fn administers(&self) -> bool {
        self.caller.as_ref().is_some_and(Caller::administers)
    }
}

async fn worst(app: &App, visit: &Visit) -> Result<Marked> {
    if visit.caller.operates() {
        return Ok(worst_of(&app.orchestrator.status(&visit.caller).await?));
    }
    let mut counts = Counts::default();
    for cluster in app
        .orchestrator
        .cluster_list(&visit.caller, &ClusterFilter::default())
        .await?
        .items
    {
        match marks::cluster(&cluster).mark {
            Mark::Healthy => counts.healthy += 1,
            Mark::Degraded => counts.degraded += 1,
            Mark::Broken => counts.broken += 1,
            Mark::Stopped => counts.stopped += 1,
            Mark::Unknown => counts.unknown += 1,
            Mark::Working => counts.making += 1,
        }
    }
    Ok(marks::pool(&counts))
}

/// The worst of everything that an operator answers for.
pub(crate) fn worst_of(status: &Status) -> Marked {
    let away = status
        .hosts
        .iter()
        .filter(|host| host.state == chainpool_api::HostState::Unreachable)
        .count();
    let pool = marks::pool(&status.pool);
    if status.pool.broken == 0 && away > 0 {
        return Marked {
            mark: Mark::Broken,
            word: format!("{away} {} away", if away == 1 { "host" } else { "hosts" }),
        };
    }
    if pool.mark != Mark::Broken && !status.ok {
        let word = match status.problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        return Marked {
            mark: Mark::Degraded,
            word,
        };
    }
    pool
}

/// What was done, by the word that the address carries after a form.
fn message(word: &str) -> &'static str {
    match word {
        "host_created" => "The host was probed and registered.",
        "host_updated" => "The host's settings were saved.",
        "host_deleted" => "The host was removed.",
        "host_forgotten" => "The host was forgotten; its leases have ended.",
        "maintenance" => "Maintenance was set.",
        "resumed" => "The pause has ended.",
        "applied" => "The cluster is yours. The bundle below has everything to connect.",
        "applied_again" => "You have a cluster by this filter already: this one.",
        "renewed" => "The lease counts anew from now.",
        "released" => "The lease has ended. The cluster is wiped and made again with new keys.",
        "account_deleted" => "The account was removed.",
        "token_deleted" => "The token was removed.",
        "signed_out" => "You are signed out.",
        _ => "",
    }
}

/// A page as a response.
pub(crate) fn html<T: Template>(template: &T) -> Result<Response, Refused> {
    Ok(Html(template.render()?).into_response())
}

/// The way to a page after a form: 303, so that a reload sends nothing twice.
pub(crate) fn see_other(address: &str) -> Response {
    Redirect::to(&session::visible(address)).into_response()
}

/// Nothing of another site, nothing inline, no frame around us, nothing kept.
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
