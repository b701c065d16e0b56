//! Administration: accounts, tokens, backup, resume after a restore.

use crate::{
    account::create_token,
    action_preview::ActionPreview,
    confirm::{self, Confirm},
    error::PageResult,
    form::Form,
    format,
    page::{self, Frame},
    redirect::see_other,
    request::AuthedRequest,
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

/// A new secret, shown once.
enum NewSecret {
    None,
    /// A one-time link: the account and the secret.
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
    new_secret: NewSecret,
    paused: bool,
    database: api::DatabaseStatus,
    version: String,
    instance: String,
    me: String,
}

/// The page.
pub(crate) async fn show(State(app): State<App>, request: AuthedRequest) -> PageResult {
    render(&app, &request, Form::default(), NewSecret::None).await
}

async fn render(app: &App, request: &AuthedRequest, form: Form, new_secret: NewSecret) -> PageResult {
    let accounts = app.orchestrator.account_list(&request.caller).await?;
    let status = app.orchestrator.status(&request.caller).await?;
    let frame = Frame::of_status(request, "admin", "Admin", &status).crumb("Admin", "/admin");
    let code = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let page = AdminPage {
        frame,
        form,
        accounts,
        tokens: app.orchestrator.token_list(&request.caller).await?,
        new_secret,
        paused: status.paused,
        database: status.database,
        version: status.version,
        instance: status.instance,
        me: request.caller.account.clone(),
    };
    Ok((code, page::html(&page)?).into_response())
}

async fn render_rejected(app: &App, request: &AuthedRequest, form: Form, error: Error) -> PageResult {
    render(
        app,
        request,
        form.rejected(error, &request.info)?,
        NewSecret::None,
    )
    .await
}

/// Creates an account and the one-time link that sets its password.
pub(crate) async fn account_create(State(app): State<App>, request: AuthedRequest, form: Form) -> PageResult {
    match create_account(&app, &request, &form).await {
        Ok((account, link)) => render(&app, &request, Form::default(), NewSecret::Link(account, link)).await,
        Err(error) => render_rejected(&app, &request, form, error).await,
    }
}

async fn create_account(app: &App, request: &AuthedRequest, form: &Form) -> Result<(String, String), Error> {
    let mut reader = form.reader();
    let role = reader.choice("role").unwrap_or(api::Role::User);
    let new = reader.finish(api::AccountCreate {
        name: form.text("name").unwrap_or_default(),
        role,
    })?;
    let account = app
        .orchestrator
        .account_create(&form.caller(request), new)
        .await?;
    let link = app
        .orchestrator
        .account_reset_link(&request.caller, &account.name)
        .await?;
    Ok((account.name, link))
}

/// Creates a one-time link for an account.
pub(crate) async fn reset_link(
    State(app): State<App>,
    request: AuthedRequest,
    Path(account): Path<String>,
) -> PageResult {
    match app
        .orchestrator
        .account_reset_link(&request.caller, &account)
        .await
    {
        Ok(link) => render(&app, &request, Form::default(), NewSecret::Link(account, link)).await,
        Err(error) => render_rejected(&app, &request, Form::default(), error).await,
    }
}

/// Asks for confirmation before an account is deleted.
pub(crate) async fn account_delete_preview(
    State(app): State<App>,
    request: AuthedRequest,
    Path(account): Path<String>,
) -> PageResult {
    ask_delete(&app, &request, &account, Form::default()).await
}

/// Deletes an account.
pub(crate) async fn account_delete(
    State(app): State<App>,
    request: AuthedRequest,
    Path(account): Path<String>,
    form: Form,
) -> PageResult {
    let deleted = match confirm::typed(&form, &account) {
        Ok(()) => {
            app.orchestrator
                .account_delete(&form.caller(&request), &account)
                .await
        }
        Err(error) => Err(error),
    };
    match deleted {
        Ok(()) => Ok(see_other("/admin?done=account_deleted")),
        Err(error) => {
            ask_delete(
                &app,
                &request,
                &account,
                confirm::rejected(form, error, &request.info)?,
            )
            .await
        }
    }
}

async fn ask_delete(app: &App, request: &AuthedRequest, account: &str, form: Form) -> PageResult {
    if !app
        .orchestrator
        .account_list(&request.caller)
        .await?
        .iter()
        .any(|known| known.name == account)
    {
        return Err(Error::not_found("account", account).into());
    }
    let own = account == request.caller.account;
    let confirm = Confirm {
        heading: format!("Delete account {account}"),
        verb: "Delete".into(),
        preview: ActionPreview {
            deletes: vec![format!("account {account} with its sessions and tokens")],
            keeps: vec!["its entries in the audit log and the lease history".into()],
            blocked: if own {
                "you are signed in with this account".into()
            } else {
                String::new()
            },
            ..ActionPreview::default()
        },
        typed: account.to_owned(),
        danger: true,
        action: confirm::same_address(request),
        back: "/admin".into(),
        ..Confirm::default()
    };
    let frame = Frame::new(app, request, "admin", "Delete account")
        .await
        .crumb("Admin", "/admin")
        .crumb(account, "");
    confirm::ask(frame, confirm, form)
}

/// Creates a token for any account.
pub(crate) async fn token_create(State(app): State<App>, request: AuthedRequest, form: Form) -> PageResult {
    match create_token(&app, &request, &form).await {
        Ok(new_secret) => render(&app, &request, Form::default(), NewSecret::Token(new_secret)).await,
        Err(error) => render_rejected(&app, &request, form, error).await,
    }
}

/// Downloads the database. A POST, because it is audited and expensive.
pub(crate) async fn backup(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let file = app.orchestrator.backup(&request.caller).await?;
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

/// Asks for confirmation before resuming after a restore.
pub(crate) async fn resume_preview(State(app): State<App>, request: AuthedRequest) -> PageResult {
    ask_resume(&app, &request, Form::default()).await
}

async fn ask_resume(app: &App, request: &AuthedRequest, form: Form) -> PageResult {
    let status = app.orchestrator.resume_preview(&request.caller).await?;
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
            "the data of {}: reset, because they may have been used after the backup",
            format::counted(&free, "free cluster")
        )
    };
    let confirm = Confirm {
        heading: "Resume after restore".into(),
        verb: "Resume".into(),
        preview: ActionPreview {
            creates: vec!["repair, autofill and deletion resume from the restored database".into()],
            deletes: if free > 0 { vec![wiped()] } else { vec![] },
            keeps: unclaimed.collect(),
            blocked: if status.paused {
                String::new()
            } else {
                "Chainpool is not paused".into()
            },
            ..ActionPreview::default()
        },
        action: "/admin/resume".into(),
        back: "/admin".into(),
        ..Confirm::default()
    };
    let frame = Frame::of_status(request, "admin", "Resume", &status)
        .crumb("Admin", "/admin")
        .crumb("Resume", "");
    confirm::ask(frame, confirm, form)
}

/// Resumes after a restore.
pub(crate) async fn resume(State(app): State<App>, request: AuthedRequest, form: Form) -> PageResult {
    match app.orchestrator.resume(&form.caller(&request)).await {
        Ok(()) => Ok(see_other("/status?done=resumed")),
        Err(error) => ask_resume(&app, &request, confirm::rejected(form, error, &request.info)?).await,
    }
}
