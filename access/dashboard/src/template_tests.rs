//! Tests of the templates with sample values.

use crate::{
    action_preview::{ClusterAction, HostAction},
    confirm::{Confirm, ConfirmPage},
    form::Form,
    page::Frame,
    request::{AuthedRequest, RequestInfo},
    samples, status_badge,
};
use askama::Template;
use chainpool_api::{Counts, HealthState, Role};
use chainpool_orchestrator::{Caller, Error};

/// A request from a caller with this role.
pub(crate) fn request(role: Role, path: &str) -> AuthedRequest {
    let caller = Caller::new(uuid::Uuid::nil(), "alice", role);
    let info = RequestInfo {
        path: path.into(),
        theme: "auto",
        https: false,
        fragment: false,
        request_id: "r-1".into(),
        client_address: String::new(),
        secret: None,
        site: std::sync::Arc::default(),
    };
    AuthedRequest { caller, info }
}

/// A frame for a caller with this role.
pub(crate) fn frame(role: Role) -> Frame {
    let counts = Counts {
        broken: 1,
        healthy: 2,
        ..Counts::default()
    };
    Frame::with(
        &request(role, "/x?done=renewed"),
        "clusters",
        "a-page",
        status_badge::pool(&counts),
    )
}

/// Asserts the page policy: one `h1`, nothing inline, no address of another site.
pub(crate) fn assert_page_policy(html: &str) {
    assert_eq!(html.matches("<h1").count(), 1, "one h1:\n{html}");
    for forbidden in [
        " style=",
        "<style",
        " onclick=",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!html.contains(forbidden), "{forbidden} in\n{html}");
    }
    assert_eq!(
        html.matches("<script").count(),
        html.matches("<script src=\"/static/").count(),
        "only the one script"
    );
}

fn confirm(confirm: Confirm, form: Form) -> String {
    ConfirmPage {
        frame: frame(Role::Operator),
        confirm,
        form,
    }
    .render()
    .unwrap()
}

#[test]
fn the_frame_shows_the_page_and_the_worst_state() {
    let html = confirm(
        Confirm {
            heading: "Reset a".into(),
            ..Confirm::default()
        },
        Form::default(),
    );
    assert_page_policy(&html);
    assert!(
        html.contains("<title>▲ 1 broken · a-page · Chainpool</title>"),
        "{html}"
    );
    assert!(
        html.contains("tab-broken.") && html.contains("Lease renewed."),
        "{html}"
    );
    assert!(
        html.contains("href=\"/hosts\"") && !html.contains("href=\"/admin\""),
        "an operator sees hosts but no accounts"
    );
}

#[test]
fn a_user_does_not_see_operator_pages() {
    let html = ConfirmPage {
        frame: frame(Role::User),
        confirm: Confirm::default(),
        form: Form::default(),
    }
    .render()
    .unwrap();
    assert!(
        !html.contains("href=\"/hosts\"")
            && !html.contains("href=\"/operations\"")
            && html.contains("href=\"/leases\"")
    );
}

#[test]
fn a_fragment_is_the_page_without_its_frame() {
    let mut bare = frame(Role::Admin);
    bare.fragment = true;
    let html = ConfirmPage {
        frame: bare,
        confirm: Confirm::default(),
        form: Form::default(),
    }
    .render()
    .unwrap();
    assert!(
        html.contains("<main") && html.contains("<title>") && html.contains("id=\"verdict\""),
        "{html}"
    );
    assert!(
        !html.contains("class=\"rail\"") && !html.contains("<html"),
        "{html}"
    );
}

#[test]
fn a_destructive_action_shows_its_preview_and_requires_the_name() {
    let host = samples::host("host-a");
    let clusters = [samples::cluster("amber", HealthState::Healthy)];
    let preview = HostAction::Clean.preview(&host, &clusters);
    let html = confirm(
        Confirm {
            preview,
            typed: "host-a".into(),
            danger: true,
            verb: "Clean".into(),
            ..Confirm::default()
        },
        Form::default(),
    );
    assert!(
        html.contains("amber (leased by alice)") && html.contains("data-typed=\"host-a\""),
        "{html}"
    );
}

#[test]
fn a_blocked_action_shows_the_reason() {
    let host = samples::host("host-a");
    assert_eq!(
        HostAction::Reset.blocked(&host),
        "1 cluster is leased; release first"
    );
    assert_eq!(
        HostAction::Delete.blocked(&host),
        "the host still has 3 clusters; reset it first"
    );
    let mut cluster = samples::cluster("amber", HealthState::Healthy);
    cluster.operation_id = Some(uuid::Uuid::nil());
    assert!(ClusterAction::Stop.blocked(&cluster).contains("in progress"));
    assert_eq!(
        ClusterAction::Delete.blocked(&cluster),
        "",
        "delete supersedes the operation in progress"
    );
    let preview = HostAction::Reset.preview(&host, &[]);
    let html = confirm(
        Confirm {
            preview,
            ..Confirm::default()
        },
        Form::default(),
    );
    assert!(
        html.contains("Not possible now:") && html.contains(" disabled>"),
        "{html}"
    );
}

#[test]
fn input_is_escaped_and_errors_are_at_the_field() {
    let form = Form::filled([("typed", "<script>alert(1)</script>\"".to_owned())]);
    let form = form
        .rejected(
            Error::field("typed", "type host-a to confirm"),
            &request(Role::Admin, "/").info,
        )
        .unwrap();
    let html = confirm(
        Confirm {
            typed: "host-a".into(),
            ..Confirm::default()
        },
        form,
    );
    assert_page_policy(&html);
    assert!(
        !html.contains("alert(1)</script>") && html.contains("id=\"typed-wrong\"") && html.contains("r-1"),
        "{html}"
    );
}
