//! The form that amends a running cluster: the amendable parameters of its network type with their current
//! values.

use super::form::parameters;
use crate::{
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
    extract::{Path, State},
    response::IntoResponse,
};
use chainpool_api as api;
use chainpool_orchestrator::Error;
use http::StatusCode;
use serde_json::{Map, Value};

/// The checkbox that requests new certificates.
const RENEW: &str = "renew_certificates";

#[derive(Template)]
#[template(path = "clusters/amend.html")]
struct AmendForm {
    frame: Frame,
    form: Form,
    cluster: api::Cluster,
    parameters: Vec<api::Parameter>,
    certificates: bool,
}

/// The form with the current values.
pub(crate) async fn edit(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
) -> PageResult {
    let cluster = app.orchestrator.cluster_show(&request.caller, &cluster).await?;
    let mut form = Form::default();
    for parameter in amendable(&kind(&app, &request, &cluster)?) {
        form.fill(
            format!("parameters.{}", parameter.name),
            format::value(current(&cluster, &parameter)),
        );
    }
    render(&app, &request, cluster, form).await
}

/// Requests the amendment.
pub(crate) async fn amend(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
    form: Form,
) -> PageResult {
    let cluster = app.orchestrator.cluster_show(&request.caller, &cluster).await?;
    let amended = match read(&form, &cluster, &kind(&app, &request, &cluster)?) {
        Ok(amend) => {
            app.orchestrator
                .cluster_amend(&form.caller(&request), &cluster.id.to_string(), amend)
                .await
        }
        Err(error) => Err(error),
    };
    match amended {
        Ok(operation) => Ok(see_other(&format!("/operations/{}", operation.id))),
        Err(error) => render(&app, &request, cluster, form.rejected(error, &request.info)?).await,
    }
}

fn kind(app: &App, request: &AuthedRequest, cluster: &api::Cluster) -> Result<api::NetworkType, Error> {
    let types = app.orchestrator.network_types(&request.caller);
    types
        .into_iter()
        .find(|kind| kind.name == cluster.network_type)
        .ok_or_else(|| Error::not_found("network type", &cluster.network_type))
}

/// The amendable parameters of a network type.
pub(super) fn amendable(kind: &api::NetworkType) -> Vec<api::Parameter> {
    kind.parameters
        .iter()
        .filter(|parameter| parameter.amendable)
        .cloned()
        .collect()
}

/// A parameter's current value; its default if the cluster is older than the parameter.
fn current<'a>(cluster: &'a api::Cluster, parameter: &'a api::Parameter) -> &'a Value {
    cluster
        .parameters
        .get(&parameter.name)
        .unwrap_or(&parameter.default)
}

/// The parameters that differ from the current values. If none differ, all of them, which retries a previous
/// amendment.
fn read(form: &Form, cluster: &api::Cluster, kind: &api::NetworkType) -> Result<api::ClusterAmend, Error> {
    let mut reader = form.reader();
    let given = parameters(&mut reader, &amendable(kind));
    let renew_certificates = form.ticked(RENEW);
    let is_current = |name: &str, value: &Value| {
        kind.parameters
            .iter()
            .any(|p| p.name == name && current(cluster, p) == value)
    };
    let changed: Map<_, _> = given
        .clone()
        .into_iter()
        .filter(|(name, value)| !is_current(name, value))
        .collect();
    let parameters = if changed.is_empty() && !renew_certificates {
        given
    } else {
        changed
    };
    reader.finish(api::ClusterAmend {
        parameters,
        renew_certificates,
    })
}

async fn render(app: &App, request: &AuthedRequest, cluster: api::Cluster, form: Form) -> PageResult {
    let kind = kind(app, request, &cluster)?;
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let back = format!("/clusters/{}", cluster.name);
    let frame = Frame::new(app, request, "clusters", format!("Amend {}", cluster.name))
        .await
        .crumb("Clusters", "/clusters")
        .crumb(&cluster.name, back)
        .crumb("Amend", "");
    let page = AmendForm {
        frame,
        form,
        cluster,
        parameters: amendable(&kind),
        certificates: kind.certificates,
    };
    Ok((status, page::html(&page)?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template_tests::{assert_page_policy, frame};
    use chainpool_api::HealthState;

    #[test]
    fn the_form_sends_changed_parameters_or_all_when_none_changed() {
        let mut kind = crate::samples::network_type();
        kind.parameters[0].amendable = true;
        let cluster = crate::samples::cluster("amber", HealthState::Healthy);
        let amend = |kind: &api::NetworkType, value: &str, renew: bool| {
            let mut form = Form::default();
            form.fill("parameters.validators", value);
            form.fill("parameters.empty_blocks", "false");
            if renew {
                form.fill(RENEW, "yes");
            }
            read(&form, &cluster, kind).map(|amend| {
                (
                    serde_json::Value::from(amend.parameters),
                    amend.renew_certificates,
                )
            })
        };
        assert_eq!(
            amend(&kind, "7", false).unwrap(),
            (serde_json::json!({"validators": 7}), false)
        );
        assert_eq!(amend(&kind, "4", true).unwrap(), (serde_json::json!({}), true));
        assert_eq!(
            amend(&kind, "4", false).unwrap(),
            (serde_json::json!({"validators": 4}), false)
        );
        // The sample is older than the parameter `empty_blocks`.
        kind.parameters[1].amendable = true;
        kind.parameters[1].default = false.into();
        assert_eq!(
            amend(&kind, "7", false).unwrap(),
            (serde_json::json!({"validators": 7}), false)
        );
        assert!(amend(&kind, "some", false).is_err());
    }

    #[test]
    fn the_form_shows_current_values_and_the_holder() {
        let parameters = crate::samples::network_type().parameters;
        let cluster = crate::samples::cluster("amber", HealthState::Healthy);
        let form = Form::filled([("parameters.validators", "4".to_owned())]);
        let page = |certificates, parameters| AmendForm {
            frame: frame(api::Role::Operator),
            form: form.clone(),
            cluster: cluster.clone(),
            parameters,
            certificates,
        };
        let html = page(true, parameters).render().unwrap();
        assert_page_policy(&html);
        assert!(
            html.contains(r#"name="parameters.validators" value="4""#) && html.contains("renew_certificates"),
            "{html}"
        );
        assert!(html.contains("alice holds the lease"), "{html}");
        assert!(
            page(false, vec![])
                .render()
                .unwrap()
                .contains("cannot be amended")
        );
    }
}
