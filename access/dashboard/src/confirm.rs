//! The confirmation page of an action: it shows the preview and, if the action is destructive, asks for the
//! name.

use crate::{
    action_preview::ActionPreview,
    error::{PageResult, Rejection},
    form::Form,
    page::{self, Frame},
    request::{AuthedRequest, RequestInfo},
};
use askama::Template;
use axum::response::IntoResponse;
use chainpool_orchestrator::Error;
use http::StatusCode;

/// The field for the typed name.
pub(crate) const TYPED: &str = "typed";

/// A confirmation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Confirm {
    /// The page heading.
    pub(crate) heading: String,
    /// The button label.
    pub(crate) verb: String,
    /// The effects of the action.
    pub(crate) preview: ActionPreview,
    /// The name that must be typed; empty if none.
    pub(crate) typed: String,
    /// Destructive: the button is red.
    pub(crate) danger: bool,
    /// The address that the form posts to.
    pub(crate) action: String,
    /// The address of the cancel button.
    pub(crate) back: String,
    /// Hidden form fields.
    pub(crate) hidden: Vec<(String, String)>,
    /// The label of the checkbox that forces the action; empty if there is none.
    pub(crate) force: String,
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub(crate) struct ConfirmPage {
    /// The frame.
    pub(crate) frame: Frame,
    /// The confirmation.
    pub(crate) confirm: Confirm,
    /// The submitted form, if it was rejected.
    pub(crate) form: Form,
}

/// Renders the confirmation page.
pub(crate) fn ask(frame: Frame, confirm: Confirm, form: Form) -> PageResult {
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let page = page::html(&ConfirmPage { frame, confirm, form })?;
    Ok((status, page).into_response())
}

/// Checks the typed name.
pub(crate) fn typed(form: &Form, name: &str) -> Result<(), Error> {
    if form.get(TYPED).trim() == name {
        Ok(())
    } else {
        Err(Error::field(TYPED, format!("type {name} to confirm")))
    }
}

/// The form, rejected with this error.
pub(crate) fn rejected(form: Form, error: Error, info: &RequestInfo) -> Result<Form, Rejection> {
    form.rejected(error, info)
}

/// The address that the confirmed form posts to: this page without its query.
pub(crate) fn same_address(request: &AuthedRequest) -> String {
    request.info.path.split('?').next().unwrap_or_default().to_owned()
}
