//! What administrators do: accounts, tokens, backup, the end of the pause after a restore.

use crate::{
    account::make_token,
    confirm::{self, Confirm},
    error::Outcome,
    form::Form,
    format,
    page::{self, Frame, see_other},
    plan::Plan,
    session::Visit,
    state::App,
};
use askama::Template;
use axum::{
    body::Body,
    extract::{Path, State},
    response::IntoResponse,
};
use chainpool_api as api;
use chainpool_orchestrator::Error;
use http::{StatusCode, header};
use tokio_util::io::ReaderStream;

/// What was just made and is shown once.
enum Made {
    Nothing,
    /// A one-time link: whose, and its secret.
    Link(String, String),
    Token(api::TokenMade),
}

#[derive(Template)]
#[template(path = "admin.html")]
struct AdminPage {
    frame: Frame,
    form: Form,
    accounts: Vec<api::Account>,
    tokens: Vec<api::Token>,
    made: Made,
    paused: bool,
    database: api::DatabaseStatus,
    version: String,
    instance: String,
    me: String,
}

/// The page.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Outcome {
    draw(&app, &visit, Form::default(), Made::Nothing).await
}

async fn draw(app: &App, visit: &Visit, form: Form, made: Made) -> Outcome {
    let accounts = app.orchestrator.account_list(&visit.caller).await?;
    let status = app.orchestrator.status(&visit.caller).await?;
    let frame = Frame::of_status(visit, "admin", "Admin", &status).crumb("Admin", "/admin");
    let code = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |refused| refused.status);
    let page = AdminPage {
        frame,
        form,
        accounts,
        tokens: app.orchestrator.token_list(&visit.caller).await?,
        made,
        paused: status.paused,
        database: status.database,
        version: status.version,
        instance: status.instance,
        me: visit.caller.account.clone(),
    };
    Ok((code, page::html(&page)?).into_response())
}

async fn refused(app: &App, visit: &Visit, form: Form, error: Error) -> Outcome {
    draw(app, visit, form.refused(error, &visit.manner)?, Made::Nothing).await
}

/// Makes an account and the link by which it sets its password.
pub(crate) async fn account_create(State(app): State<App>, visit: Visit, form: Form) -> Outcome {
    match make_account(&app, &visit, &form).await {
        Ok((account, link)) => draw(&app, &visit, Form::default(), Made::Link(account, link)).await,
        Err(error) => refused(&app, &visit, form, error).await,
    }
}

async fn make_account(app: &App, visit: &Visit, form: &Form) -> Result<(String, String), Error> {
    let mut reader = form.reader();
    let role = reader.word("role").unwrap_or(api::Role::User);
    let new = reader.finish(api::AccountCreate {
        name: form.text("name").unwrap_or_default(),
        role,
    })?;
    let account = app.orchestrator.account_create(&form.caller(visit), new).await?;
    let link = app
        .orchestrator
        .account_reset_link(&visit.caller, &account.name)
        .await?;
    Ok((account.name, link))
}

/// Makes a one-time link for an account.
pub(crate) async fn reset_link(State(app): State<App>, visit: Visit, Path(account): Path<String>) -> Outcome {
    match app.orchestrator.account_reset_link(&visit.caller, &account).await {
        Ok(link) => draw(&app, &visit, Form::default(), Made::Link(account, link)).await,
        Err(error) => refused(&app, &visit, Form::default(), error).await,
    }
}

/// Asks before an account is removed.
pub(crate) async fn account_delete_plan(
    State(app): State<App>,
    visit: Visit,
    Path(account): Path<String>,
) -> Outcome {
    ask_delete(&app, &visit, &account, Form::default()).await
}

/// Removes an account.
pub(crate) async fn account_delete(
    State(app): State<App>,
    visit: Visit,
    Path(account): Path<String>,
    form: Form,
) -> Outcome {
    let deleted = match confirm::typed(&form, &account) {
        Ok(()) => {
            app.orchestrator
                .account_delete(&form.caller(&visit), &account)
                .await
        }
        Err(error) => Err(error),
    };
    match deleted {
        Ok(()) => Ok(see_other("/admin?done=account_deleted")),
        Err(error) => {
            ask_delete(
                &app,
                &visit,
                &account,
                confirm::refused(form, error, &visit.manner)?,
            )
            .await
        }
    }
}

async fn ask_delete(app: &App, visit: &Visit, account: &str, form: Form) -> Outcome {
    if !app
        .orchestrator
        .account_list(&visit.caller)
        .await?
        .iter()
        .any(|known| known.name == account)
    {
        return Err(Error::not_found("account", account).into());
    }
    let own = account == visit.caller.account;
    let confirm = Confirm {
        heading: format!("Delete account {account}"),
        verb: "Delete".into(),
        plan: Plan {
            deletes: vec![format!("the account {account} with its sessions and tokens")],
            keeps: vec!["its part in the audit and in the history of leases".into()],
            blocked: if own {
                "you are signed in with it".into()
            } else {
                String::new()
            },
            ..Plan::default()
        },
        typed: account.to_owned(),
        danger: true,
        action: confirm::same_address(visit),
        back: "/admin".into(),
        ..Confirm::default()
    };
    let frame = Frame::new(app, visit, "admin", "Delete account")
        .await
        .crumb("Admin", "/admin")
        .crumb(account, "");
    confirm::ask(frame, confirm, form)
}

/// Makes a token for any account.
pub(crate) async fn token_create(State(app): State<App>, visit: Visit, form: Form) -> Outcome {
    match make_token(&app, &visit, &form).await {
        Ok(made) => draw(&app, &visit, Form::default(), Made::Token(made)).await,
        Err(error) => refused(&app, &visit, form, error).await,
    }
}

/// The database as a file; a POST, since it is written to the audit and costs something.
pub(crate) async fn backup(State(app): State<App>, visit: Visit) -> Outcome {
    let file = app.orchestrator.backup(&visit.caller).await?;
    let stamp: String = api::Timestamp::now()
        .to_string()
        .chars()
        .take(19)
        .map(|c| if c == ':' { '-' } else { c })
        .collect();
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"chainpool-{stamp}.db\""),
        ),
    ];
    let body = Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file)));
    Ok((headers, body).into_response())
}

/// Asks before the pause after a restore ends.
pub(crate) async fn resume_plan(State(app): State<App>, visit: Visit) -> Outcome {
    ask_resume(&app, &visit, Form::default()).await
}

async fn ask_resume(app: &App, visit: &Visit, form: Form) -> Outcome {
    let status = app.orchestrator.resume_preview(&visit.caller).await?;
    let unclaimed = status.unclaimed.iter().map(|each| {
        format!(
            "unclaimed on {}: cluster {}, {} objects",
            each.host,
            each.cluster_id,
            each.objects.len()
        )
    });
    let free = status.pool.clusters.saturating_sub(status.pool.leased);
    let wiped = || {
        format!(
            "the data of {}: made again, since they may have been used after the backup",
            format::counted(&free, "free cluster")
        )
    };
    let confirm = Confirm {
        heading: "Resume after restore".into(),
        verb: "Resume".into(),
        plan: Plan {
            makes: vec!["repair, autofill and deletion go on by what the restored database knows".into()],
            deletes: if free > 0 { vec![wiped()] } else { vec![] },
            keeps: unclaimed.collect(),
            blocked: if status.paused {
                String::new()
            } else {
                "it is not paused".into()
            },
            ..Plan::default()
        },
        action: "/admin/resume".into(),
        back: "/admin".into(),
        ..Confirm::default()
    };
    let frame = Frame::of_status(visit, "admin", "Resume", &status)
        .crumb("Admin", "/admin")
        .crumb("Resume", "");
    confirm::ask(frame, confirm, form)
}

/// Ends the pause after a restore.
pub(crate) async fn resume(State(app): State<App>, visit: Visit, form: Form) -> Outcome {
    match app.orchestrator.resume(&form.caller(&visit)).await {
        Ok(()) => Ok(see_other("/status?done=resumed")),
        Err(error) => ask_resume(&app, &visit, confirm::refused(form, error, &visit.manner)?).await,
    }
}
