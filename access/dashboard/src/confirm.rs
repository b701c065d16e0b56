//! The page between a button and what cannot be taken back: it shows the plan and wants the name typed.

use crate::{
    error::{Outcome, Refused},
    form::Form,
    page::{self, Frame},
    plan::Plan,
    session::{Manner, Visit},
};
use askama::Template;
use axum::response::IntoResponse;
use chainpool_orchestrator::Error;
use http::StatusCode;

/// The field into which the name is typed.
pub(crate) const TYPED: &str = "typed";

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Confirm {
    /// The question, as the page's heading.
    pub(crate) heading: String,
    /// The words on the button.
    pub(crate) verb: String,
    /// What will be done.
    pub(crate) plan: Plan,
    /// The name that must be typed; empty: none.
    pub(crate) typed: String,
    /// What cannot be taken back is red.
    pub(crate) danger: bool,
    /// Where the form goes.
    pub(crate) action: String,
    /// The way back.
    pub(crate) back: String,
    /// What the form carries along.
    pub(crate) hidden: Vec<(String, String)>,
    /// The words beside a box that must be ticked to force it; empty: no box.
    pub(crate) force: String,
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub(crate) struct ConfirmPage {
    /// The frame.
    pub(crate) frame: Frame,
    /// What is asked.
    pub(crate) confirm: Confirm,
    /// What was filled in before.
    pub(crate) form: Form,
}

/// The page that asks.
pub(crate) fn ask(frame: Frame, confirm: Confirm, form: Form) -> Outcome {
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |refused| refused.status);
    let page = page::html(&ConfirmPage { frame, confirm, form })?;
    Ok((status, page).into_response())
}

/// Whether the name was typed as it is.
pub(crate) fn typed(form: &Form, name: &str) -> Result<(), Error> {
    if form.get(TYPED).trim() == name {
        Ok(())
    } else {
        Err(Error::field(TYPED, format!("type {name} to confirm")))
    }
}

/// The form, refused for this reason.
pub(crate) fn refused(form: Form, error: Error, manner: &Manner) -> Result<Form, Refused> {
    form.refused(error, manner)
}

/// Where the confirmed form goes: this page's own address without its query.
pub(crate) fn same_address(visit: &Visit) -> String {
    visit.manner.path.split('?').next().unwrap_or_default().to_owned()
}
