//! What pages must say and must not hold, on sample values: the tests of the templates.

use crate::{
    confirm::{Confirm, ConfirmPage},
    form::Form,
    marks,
    page::Frame,
    plan::{ClusterAction, HostAction},
    samples,
    session::{Manner, Visit},
};
use askama::Template;
use chainpool_api::{Counts, HealthState, Role};
use chainpool_orchestrator::{Caller, Error};

/// A visit of somebody with this role.
pub(crate) fn visit(role: Role, path: &str) -> Visit {
    let caller = Caller::new(uuid::Uuid::nil(), "alice", role);
    let manner = Manner {
        path: path.into(),
        theme: "auto",
        https: false,
        fragment: false,
        request_id: "r-1".into(),
        from: String::new(),
        secret: None,
        site: std::sync::Arc::default(),
    };
    Visit { caller, manner }
}

/// A frame for somebody with this role.
pub(crate) fn frame(role: Role) -> Frame {
    let counts = Counts {
        broken: 1,
        healthy: 2,
        ..Counts::default()
    };
    Frame::with(
        &visit(role, "/x?done=renewed"),
        "clusters",
        "a-page",
        marks::pool(&counts),
    )
}

/// A page keeps to the policy: one heading of the first rank, nothing inline, no address of another site.
pub(crate) fn keeps_the_rules(html: &str) {
    assert_eq!(html.matches("<h1").count(), 1, "one h1:\n{html}");
    for never in [
        " style=",
        "<style",
        " onclick=",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!html.contains(never), "{never} in\n{html}");
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
fn the_frame_says_where_one_is_and_what_is_worst() {
    let html = confirm(
        Confirm {
            heading: "Reset a".into(),
            ..Confirm::default()
        },
        Form::default(),
    );
    keeps_the_rules(&html);
    assert!(
        html.contains("<title>▲ 1 broken · a-page · Chainpool</title>"),
        "{html}"
    );
    assert!(
        html.contains("tab-broken.") && html.contains("The lease counts anew from now."),
        "{html}"
    );
    assert!(
        html.contains("href=\"/hosts\"") && !html.contains("href=\"/admin\""),
        "an operator sees hosts, no accounts"
    );
}

#[test]
fn a_user_is_not_shown_what_is_for_operators() {
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
fn a_destructive_action_shows_its_plan_and_wants_the_name() {
    let host = samples::host("host-a");
    let clusters = [samples::cluster("amber", HealthState::Healthy)];
    let plan = HostAction::Clean.plan(&host, &clusters);
    let html = confirm(
        Confirm {
            plan,
            typed: "host-a".into(),
            danger: true,
            verb: "Clean".into(),
            ..Confirm::default()
        },
        Form::default(),
    );
    assert!(
        html.contains("amber (held by alice)") && html.contains("data-typed=\"host-a\""),
        "{html}"
    );
}

#[test]
fn what_cannot_be_done_says_why() {
    let host = samples::host("host-a");
    assert_eq!(
        HostAction::Reset.blocked(&host),
        "1 cluster is held; release them first"
    );
    assert_eq!(
        HostAction::Delete.blocked(&host),
        "it still has 3 clusters; clean or reset it first"
    );
    let mut cluster = samples::cluster("amber", HealthState::Healthy);
    cluster.operation_id = Some(uuid::Uuid::nil());
    assert!(ClusterAction::Stop.blocked(&cluster).contains("under way"));
    assert_eq!(
        ClusterAction::Delete.blocked(&cluster),
        "",
        "delete replaces what is under way"
    );
    let plan = HostAction::Reset.plan(&host, &[]);
    let html = confirm(
        Confirm {
            plan,
            ..Confirm::default()
        },
        Form::default(),
    );
    assert!(html.contains("Not now:") && html.contains(" disabled>"), "{html}");
}

#[test]
fn input_is_escaped_and_errors_stand_at_the_field() {
    let form = Form::filled([("typed", "<script>alert(1)</script>\"".to_owned())]);
    let form = form
        .refused(
            Error::field("typed", "type host-a to confirm"),
            &visit(Role::Admin, "/").manner,
        )
        .unwrap();
    let html = confirm(
        Confirm {
            typed: "host-a".into(),
            ..Confirm::default()
        },
        form,
    );
    keeps_the_rules(&html);
    assert!(
        !html.contains("alert(1)</script>") && html.contains("id=\"typed-wrong\"") && html.contains("r-1"),
        "{html}"
    );
}
